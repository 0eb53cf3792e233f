//! What the server under load costs: its processes seen from outside, and the counters it tells.

use std::{collections::BTreeMap, time::Duration};

use crate::{address::Address, http, process};

/// Whom to watch.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watched {
    /// Processes, whose CPU and memory are added up.
    pub(crate) pids: Vec<u32>,
    /// The private listener, such as `http://127.0.0.1:9090`.
    pub(crate) metrics: Option<Address>,
}

/// The state of a server at one instant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Look {
    /// Nothing: the process was not there to be seen.
    cpu: Vec<Option<Duration>>,
    rss_kb: Option<u64>,
    own_cpu: Option<Duration>,
    counters: BTreeMap<String, f64>,
}

/// What it did between two looks.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ServerFigures {
    /// CPU seconds of each process watched, in the order they were named; empty where not all of them were there all the time.
    pub(crate) cpu_seconds: Vec<f64>,
    /// Their memory at the end.
    pub(crate) rss_kb: Option<u64>,
    /// Packets of a run that went out in one system call, on average; nothing if the server does not tell.
    pub(crate) gso_run_mean: Option<f64>,
    /// Packets that it says it did not send because the kernel had no room.
    pub(crate) told_full: Option<u64>,
    /// Memory of the histories that it tells of at the end.
    pub(crate) history_bytes: Option<u64>,
    /// CPU seconds of the load tester.
    pub(crate) tester_cpu_seconds: Option<f64>,
}

impl Watched {
    /// A process of these that cannot be seen: its figures would be those of nobody.
    pub(crate) fn unseen(&self) -> Option<u32> {
        let seen = |pid: u32| process::cpu(pid).is_some() && process::rss_kb(pid).is_some();
        self.pids.iter().copied().find(|&pid| !seen(pid))
    }

    /// Memory of the processes now, in kB; nothing if one of them cannot be seen.
    pub(crate) fn rss_kb(&self) -> Option<u64> {
        let each = self.pids.iter().map(|&pid| process::rss_kb(pid));
        each.sum::<Option<u64>>().filter(|_| !self.pids.is_empty())
    }

    /// Looks at the beginning of a span. What cannot be seen is nothing, and not zero.
    pub(crate) async fn look(&self) -> Look {
        let counters = self.counters().await;
        Look {
            counters,
            ..self.look_at_processes()
        }
    }

    /// Looks at the end of a span: as at its beginning, what it costs to be asked for counters lies outside.
    pub(crate) async fn look_last(&self) -> Look {
        let processes = self.look_at_processes();
        Look {
            counters: self.counters().await,
            ..processes
        }
    }

    fn look_at_processes(&self) -> Look {
        Look {
            cpu: self.pids.iter().map(|&pid| process::cpu(pid)).collect(),
            rss_kb: self.rss_kb(),
            own_cpu: process::cpu(std::process::id()),
            counters: BTreeMap::new(),
        }
    }

    async fn counters(&self) -> BTreeMap<String, f64> {
        match &self.metrics {
            Some(listener) => fetch(listener).await.unwrap_or_default(),
            None => BTreeMap::new(),
        }
    }
}

impl Look {
    pub(crate) fn rss_kb(&self) -> Option<u64> {
        self.rss_kb
    }

    /// What happened since an earlier look.
    pub(crate) fn since(&self, before: &Self) -> ServerFigures {
        let count = |name: &str| {
            let grown = self.counters.get(name)? - before.counters.get(name)?;
            (grown >= 0.0).then_some(grown)
        };
        let ratio = |packets: &str, calls: &str| {
            let calls = count(calls).filter(|&calls| calls > 0.0)?;
            Some(count(packets)? / calls)
        };
        let run = ratio(
            "diemcau_media_sends_total{kind=\"packets\"}",
            "diemcau_media_sends_total{kind=\"runs\"}",
        )
        .or_else(|| {
            ratio(
                "diemcau_sent_total{kind=\"datagrams\"}",
                "diemcau_sent_total{kind=\"system_calls\"}",
            )
        });
        let spent =
            |now: Option<Duration>, then: Option<Duration>| Some(now?.saturating_sub(then?).as_secs_f64());
        let each = self.cpu.iter().zip(&before.cpu);
        let each: Option<Vec<f64>> = each.map(|(&now, &then)| spent(now, then)).collect();
        ServerFigures {
            cpu_seconds: each.unwrap_or_default(),
            rss_kb: self.rss_kb,
            gso_run_mean: run,
            told_full: count("diemcau_packets_dropped_total{reason=\"buffer_full\"}").map(|full| full as u64),
            history_bytes: self
                .counters
                .get("diemcau_history_bytes")
                .map(|&bytes| bytes as u64),
            tester_cpu_seconds: spent(self.own_cpu, before.own_cpu),
        }
    }
}

/// The counters of a Prometheus text by name with labels.
async fn fetch(listener: &Address) -> anyhow::Result<BTreeMap<String, f64>> {
    let answer = http::request("GET", &listener.refer("/metrics")?, &[], "", None).await?;
    Ok(parse(&answer.body))
}

fn parse(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.rsplit_once(' '));
    pairs
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(text: &str, cpu_ms: u64) -> Look {
        Look {
            cpu: vec![Some(Duration::from_millis(cpu_ms))],
            rss_kb: Some(5),
            own_cpu: Some(Duration::ZERO),
            counters: parse(text),
        }
    }

    #[test]
    fn growth_between_two_looks_is_told() {
        let text = |packets, calls| {
            format!(
                "# TYPE diemcau_sent_total counter\ndiemcau_sent_total{{kind=\"datagrams\"}} {packets}\n\
                 diemcau_sent_total{{kind=\"system_calls\"}} {calls}\n"
            )
        };
        let figures = look(&text(1_100, 300), 2_500).since(&look(&text(100, 100), 500));
        assert_eq!(figures.gso_run_mean, Some(5.0));
        assert_eq!(figures.cpu_seconds, [2.0]);
        assert_eq!(figures.told_full, None);
    }

    #[test]
    fn the_counter_of_media_alone_is_preferred_and_nothing_is_made_up() {
        let text = "diemcau_media_sends_total{kind=\"packets\"} 90\ndiemcau_media_sends_total{kind=\"runs\"} 30\n\
                    diemcau_sent_total{kind=\"datagrams\"} 9\ndiemcau_sent_total{kind=\"system_calls\"} 9\n";
        let none =
            "diemcau_media_sends_total{kind=\"packets\"} 0\ndiemcau_media_sends_total{kind=\"runs\"} 0\n";
        assert_eq!(look(text, 0).since(&look(none, 0)).gso_run_mean, Some(3.0));
        assert_eq!(look("", 0).since(&look("", 0)).gso_run_mean, None);
    }

    #[test]
    fn a_process_that_is_gone_costs_nothing_that_is_told() {
        let (before, mut after) = (look("", 500), look("", 900));
        after.cpu = vec![None];
        assert!(after.since(&before).cpu_seconds.is_empty());
        let watched = |pids: Vec<u32>| Watched { pids, metrics: None };
        assert_eq!(watched(vec![]).rss_kb(), None);
        assert_eq!(watched(vec![u32::MAX]).rss_kb(), None);
        assert_eq!(watched(vec![u32::MAX]).unseen(), Some(u32::MAX));
        #[cfg(target_os = "linux")]
        assert_eq!(watched(vec![std::process::id()]).unseen(), None);
    }
}
