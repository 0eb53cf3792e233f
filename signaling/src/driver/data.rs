//! The data folder: made at the first start, for its owner only; one server at a time has it.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::media;

/// Held by the server that has the folder. The lock ends with the process, however that ends.
const LOCK: &str = "serve.lock";

/// As much as is written to see whether there is room: more than a key.
const PROBE_BYTES: usize = 4_096;

/// Why a data folder cannot be had. Each begins with its code.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Something in it, or on the way to it, cannot be written.
    #[error(
        "data_unusable: {} cannot be written: {error}; give the data folder {} and what is in it to the user that runs \
         diemcau (chown -R, chmod 700), or take another one (--data)",
        path.display(), data.display()
    )]
    Unusable {
        /// The folder.
        data: PathBuf,
        /// What cannot.
        path: PathBuf,
        /// The kernel's reason.
        error: io::Error,
    },
    /// Two servers would take the node from each other without end.
    #[error(
        "data_in_use: another diemcau serves with the data folder {} already; end it first, or give this one another --data",
        .0.display()
    )]
    InUse(PathBuf),
}

/// A data folder that can be had.
#[derive(Debug)]
pub(super) struct Folder {
    data: PathBuf,
    /// None: the file is not there yet.
    lock: Option<fs::File>,
    /// There is no room for more: what it must have is there.
    pub(super) is_full: bool,
}

/// Looks whether the folder can be had. What is not there is not made: who looks may be another user than who will serve.
///
/// # Errors
/// See [`DataError`].
pub(super) fn look(data: &Path) -> Result<Folder, DataError> {
    let unusable = |path: &Path, error| DataError::Unusable {
        data: data.to_owned(),
        path: path.to_owned(),
        error,
    };
    let folder = Folder {
        data: data.to_owned(),
        lock: None,
        is_full: false,
    };
    let whole = std::path::absolute(data).map_err(|error| unusable(data, error))?;
    let nearest = whole.ancestors().find(|folder| folder.exists()).unwrap_or(&whole);
    let is_full = match probe(nearest) {
        Err(error) if !may_be_full(&error, &whole) => return Err(unusable(nearest, error)),
        probed => probed.is_err(),
    };
    if nearest != whole {
        return Ok(folder);
    }
    let log = media::log_path(data);
    match fs::OpenOptions::new().append(true).open(&log) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unusable(&log, error)),
        _ => {}
    }
    let socket = media::socket_path(data);
    socket.map_err(|error| unusable(&std::env::temp_dir(), error))?;
    match lock(data, fs::OpenOptions::new().write(true)) {
        Ok(lock) => Ok(Folder {
            lock: Some(lock),
            is_full,
            ..folder
        }),
        Err(DataError::Unusable { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(folder),
        Err(error) => Err(error),
    }
}

impl Folder {
    /// Makes what is not there, and holds it as long as the file is open.
    ///
    /// # Errors
    /// See [`DataError`].
    pub(super) fn take(self) -> Result<fs::File, DataError> {
        make(&self.data)?;
        let created = || {
            let mut options = fs::OpenOptions::new();
            lock(
                &self.data,
                options.create(true).truncate(false).write(true).mode(0o600),
            )
        };
        self.lock.map_or_else(created, Ok)
    }
}

/// Makes the folder, if there is none.
///
/// # Errors
/// See [`DataError`].
pub fn make(data: &Path) -> Result<(), DataError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(data);
    made.map_err(|error| DataError::Unusable {
        data: data.to_owned(),
        path: data.to_owned(),
        error,
    })
}

fn lock(data: &Path, options: &fs::OpenOptions) -> Result<fs::File, DataError> {
    let path = data.join(LOCK);
    let unusable = |error| DataError::Unusable {
        data: data.to_owned(),
        path: path.clone(),
        error,
    };
    let file = options.open(&path).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(DataError::InUse(data.to_owned())),
        Err(fs::TryLockError::Error(error)) => Err(unusable(error)),
    }
}

/// A server that had the folder before needs no room to come back to its meetings.
fn may_be_full(error: &io::Error, data: &Path) -> bool {
    let is_full = matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    );
    is_full && data.join(LOCK).exists()
}

/// Puts a file there and takes it away again: a file system that is full or read-only tells in no other way for sure.
fn probe(folder: &Path) -> io::Result<()> {
    let path = folder.join(format!("diemcau-{:016x}.new", rand::random::<u64>()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    let written = file.write_all(&[0; PROBE_BYTES]).and_then(|()| file.sync_all());
    fs::remove_file(&path)?;
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_makes_nothing_and_takes_nothing_from_who_serves() {
        let parent = tempfile::tempdir().expect("a folder");
        let data = parent.path().join("a/b");
        look(&data).expect("can be made");
        assert_eq!(fs::read_dir(parent.path()).expect("read").count(), 0);
        let held = look(&data).and_then(Folder::take).expect("taken");
        assert!(matches!(look(&data), Err(DataError::InUse(_))));
        drop(held);
        look(&data).expect("free again");
        let files = fs::read_dir(&data)
            .expect("read")
            .map(|file| file.expect("read").file_name());
        assert_eq!(files.collect::<Vec<_>>(), [LOCK]);
    }

    #[test]
    fn a_full_disk_keeps_nobody_from_coming_back() {
        let data = tempfile::tempdir().expect("a folder");
        let [full, quota, other] = [
            io::ErrorKind::StorageFull,
            io::ErrorKind::QuotaExceeded,
            io::ErrorKind::PermissionDenied,
        ]
        .map(io::Error::from);
        assert!(!may_be_full(&full, data.path()), "there is something to be made");
        drop(look(data.path()).and_then(Folder::take).expect("taken"));
        assert!(may_be_full(&full, data.path()) && may_be_full(&quota, data.path()));
        assert!(!may_be_full(&other, data.path()));
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let parent = tempfile::tempdir().expect("a folder");
        let file = parent.path().join("file");
        fs::write(&file, "").expect("written");
        // Nobody can make one there, whoever runs this.
        for data in [file.join("data"), file, "/proc/diemcau/data".into()] {
            let told = look(&data).expect_err("refused").to_string();
            assert!(told.starts_with("data_unusable: "), "{told}");
            assert!(told.contains(&data.display().to_string()), "{told}");
        }
        let data = parent.path().join("data");
        fs::create_dir_all(data.join("node.log")).expect("made");
        let told = look(&data).expect_err("refused").to_string();
        assert!(told.contains("node.log cannot be written"), "{told}");
    }
}
