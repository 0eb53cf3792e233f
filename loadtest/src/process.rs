//! What the kernel says of processes: their CPU time, their memory, what their sockets dropped.

use std::{collections::BTreeSet, fs, time::Duration};

/// Ticks of `/proc/PID/stat` in a second: Linux has had 100 of them towards programs on every machine of today (`proc_pid_stat(5)`).
const TICKS: u64 = 100;

/// CPU time that a process has used, in user space and kernel; nothing if there is no such process.
pub(crate) fn cpu(pid: u32) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_cpu(&text)
}

/// Fields 14 and 15 of `/proc/PID/stat`; the second, a name in parentheses, may hold anything.
fn parse_cpu(text: &str) -> Option<Duration> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let ticks = ticks()? + ticks()?;
    Some(Duration::from_millis(ticks * 1_000 / TICKS))
}

/// Memory in use, in kB.
pub(crate) fn rss_kb(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Datagrams that came to these ports and found no room in their sockets (`/proc/net/udp`); nothing if none of the sockets is listed there.
pub(crate) fn dropped(ports: &BTreeSet<u16>) -> Option<u64> {
    let files = ["/proc/self/net/udp", "/proc/self/net/udp6"];
    let text: String = files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .collect();
    parse_dropped(&text, ports)
}

fn parse_dropped(text: &str, ports: &BTreeSet<u16>) -> Option<u64> {
    let rows = text.lines().filter_map(|line| {
        let local = line.split_ascii_whitespace().nth(1)?;
        let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        let drops = line.split_ascii_whitespace().last()?.parse::<u64>().ok()?;
        ports.contains(&port).then_some(drops)
    });
    rows.reduce(|all, drops| all + drops)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_move_the_fields() {
        let text = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(parse_cpu(text), Some(Duration::from_secs(3)));
        assert_eq!(parse_cpu("7 (a"), None);
    }

    #[test]
    fn drops_are_those_of_the_ports_asked_for() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
                    1: 0100007F:1F90 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 1 2 0000 12\n\
                    2: 0100007F:1F91 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 1 2 0000 5\n";
        assert_eq!(parse_dropped(text, &BTreeSet::from([0x1f90])), Some(12));
        assert_eq!(parse_dropped(text, &BTreeSet::from([0x1f90, 0x1f91])), Some(17));
        assert_eq!(parse_dropped(text, &BTreeSet::from([0x1f92])), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_memory_and_time() {
        let own = std::process::id();
        assert!(rss_kb(own).unwrap() > 0);
        assert!(cpu(own).is_some());
        assert_eq!(cpu(u32::MAX), None);
    }
}
