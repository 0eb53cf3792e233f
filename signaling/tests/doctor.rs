//! `diemcau doctor` and `diemcau serve` on the same machine: what one refuses, the other has told.

mod common;

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use common::{diemcau, with_few_files};
use signaling::driver::certificate;

/// A machine on which nothing is amiss but what these say.
struct Amiss<'a> {
    code: &'static str,
    program: fn(&Path) -> Command,
    data: &'a Path,
    settings: Vec<(&'static str, String)>,
}

impl Amiss<'_> {
    fn run(&self, command: &str) -> Output {
        let mut program = (self.program)(self.data);
        program
            .arg(command)
            .env("DIEMCAU__HTTP__LISTEN", "127.0.0.1:0")
            .envs(self.settings.iter().map(|(key, value)| (key, value)));
        program.output().expect("run")
    }

    /// `serve` refuses, `doctor` has the same sentence among its own, and no other error.
    fn check(&self) {
        let refused = self.run("serve");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        let sentence = said.lines().next_back().unwrap_or_default();
        let sentence = sentence
            .strip_prefix("diemcau: ")
            .unwrap_or_else(|| panic!("{said}"));
        assert!(sentence.starts_with(&format!("{}: ", self.code)), "{said}");
        assert_eq!(refused.status.code(), Some(1), "{said}");
        let examined = self.run("doctor");
        let told = String::from_utf8_lossy(&examined.stdout).into_owned();
        let errors: Vec<_> = told.lines().filter(|line| line.starts_with("ERROR")).collect();
        assert_eq!(errors, [format!("ERROR    {sentence}")], "{told}");
        assert_eq!(examined.status.code(), Some(1));
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("read");
    entries
        .map(|entry| entry.expect("read").file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn a_machine_with_nothing_amiss_is_told_so_and_nothing_is_made() {
    let parent = tempfile::tempdir().expect("a folder");
    let data = parent.path().join("data");
    let examined = diemcau(&data)
        .args(["doctor", "--listen", "127.0.0.1:0"])
        .output()
        .expect("run");
    let told = String::from_utf8_lossy(&examined.stdout).into_owned();
    assert!(examined.status.success() && !told.contains("ERROR"), "{told}");
    assert!(
        names(parent.path()).is_empty(),
        "who looks may be another user than who serves"
    );
}

#[test]
fn what_serve_refuses_doctor_tells_in_the_same_words() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = |name: &str| {
        let folder = place.path().join(name);
        fs::create_dir(&folder).expect("made");
        folder
    };
    let text = |path: &Path| path.display().to_string();
    let plain = folder("plain");
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let taken = (taken.local_addr().expect("bound").to_string(), taken);
    let names = ["localhost".to_owned()];
    let pairs = ["one", "other"].map(|name| certificate::init(&folder(name), &names).expect("made").server);
    let locked = folder("locked");
    let lock = fs::File::create(locked.join("serve.lock")).expect("made");
    lock.try_lock().expect("free");
    let damaged = folder("damaged");
    let key = damaged.join("signing-key.pem");
    fs::write(&key, "nonsense").expect("written");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("changed");
    // Nobody makes a folder in a file, whoever runs this.
    let nowhere = key.join("data");
    let amiss = |code, data, settings| Amiss {
        code,
        program: diemcau,
        data,
        settings,
    };
    let few = Amiss {
        program: |data| with_few_files(data, 64),
        ..amiss("files_few", &plain, vec![])
    };
    for case in [
        few,
        amiss(
            "log_filter",
            &plain,
            vec![("DIEMCAU__LOG__FILTER", "a=b=c".into())],
        ),
        amiss(
            "log_filter",
            &plain,
            vec![("DIEMCAU__LOG__FILTER", "verbose".into())],
        ),
        amiss("data_unusable", &nowhere, vec![]),
        amiss("data_in_use", &locked, vec![]),
        amiss("signing_key", &damaged, vec![]),
        amiss(
            "topology_bad",
            &plain,
            vec![
                ("DIEMCAU__TOPOLOGY__SITES", text(&nowhere)),
                ("DIEMCAU__TOPOLOGY__LINES", text(&nowhere)),
            ],
        ),
        amiss(
            "certificate_missing",
            &plain,
            vec![
                ("DIEMCAU__HTTP__LISTEN", "0.0.0.0:0".into()),
                // The machine may have no other address.
                ("DIEMCAU__MEDIA__LOOPBACK", "true".into()),
            ],
        ),
        amiss(
            "certificate_unusable",
            &plain,
            vec![
                ("DIEMCAU__HTTP__CERTIFICATE", text(&nowhere)),
                ("DIEMCAU__HTTP__KEY", text(&pairs[0].key)),
            ],
        ),
        amiss(
            "certificate_unusable",
            &plain,
            vec![
                ("DIEMCAU__HTTP__CERTIFICATE", text(&pairs[0].certificate)),
                ("DIEMCAU__HTTP__KEY", text(&pairs[1].key)),
            ],
        ),
        amiss(
            "listen_refused",
            &plain,
            vec![
                ("DIEMCAU__HTTP__LISTEN", taken.0.clone()),
                ("DIEMCAU__METRICS__LISTEN", "127.0.0.1:0".into()),
                ("DIEMCAU__MEDIA__PORT", "0".into()),
            ],
        ),
        amiss(
            "listen_refused",
            &plain,
            vec![("DIEMCAU__METRICS__LISTEN", taken.0.clone())],
        ),
    ] {
        case.check();
    }
}
