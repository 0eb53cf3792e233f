//! The signing key: made at the first start, kept in the data folder, readable by its owner only.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use ed25519_dalek::{
    SigningKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, spki::der::pem::LineEnding},
};
use jsonwebtoken::{DecodingKey, EncodingKey};

/// Name of the key's file in the data folder.
const FILE: &str = "signing-key.pem";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("{FILE} in the data folder: {0}")]
    Io(io::Error),
    /// The file is no Ed25519 key.
    #[error("{FILE} in the data folder is no Ed25519 private key in PEM (PKCS #8); put the copy of it back")]
    Format,
    /// Others may read it.
    #[error("{FILE} in the data folder must be readable by its owner only (chmod 600)")]
    Open,
}

/// The one key pair that tokens are signed with. It never prints.
pub struct Keys {
    pub(super) kid: String,
    pub(super) encoding: EncodingKey,
    pub(super) decoding: DecodingKey,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.kid)
    }
}

impl Keys {
    /// Reads the key of a data folder, or makes one.
    ///
    /// # Errors
    /// See [`KeyError`]. A damaged key is never replaced: all tokens given out would be void.
    pub fn load_or_create(data: &Path) -> Result<Self, KeyError> {
        if let Some(keys) = Self::load(data)? {
            return Ok(keys);
        }
        let path = data.join(FILE);
        let key = SigningKey::from_bytes(&rand::random());
        let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|_| KeyError::Format)?;
        match put(&path, pem.as_bytes()) {
            Ok(()) => Self::of(&key),
            // Another process made one in the same moment.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::of_file(&path),
            Err(error) => Err(KeyError::Io(error)),
        }
    }

    /// Reads the key of a data folder, if it has one.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn load(data: &Path) -> Result<Option<Self>, KeyError> {
        match Self::of_file(&data.join(FILE)) {
            Err(KeyError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    fn of_file(path: &Path) -> Result<Self, KeyError> {
        let pem = fs::read_to_string(path).map_err(KeyError::Io)?;
        let mode = fs::metadata(path).map_err(KeyError::Io)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(KeyError::Open);
        }
        Self::of(&SigningKey::from_pkcs8_pem(&pem).map_err(|_| KeyError::Format)?)
    }

    fn of(key: &SigningKey) -> Result<Self, KeyError> {
        let public = key.verifying_key().to_bytes();
        let der = key.to_pkcs8_der().map_err(|_| KeyError::Format)?;
        Ok(Self {
            kid: public.iter().take(8).map(|byte| format!("{byte:02x}")).collect(),
            encoding: EncodingKey::from_ed_der(der.as_bytes()),
            decoding: DecodingKey::from_ed_der(&public),
        })
    }
}

/// Puts a whole file there, or none: half a key would be refused at every start. Nothing that is there is replaced.
fn put(path: &Path, text: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension(format!("{:016x}.new", rand::random::<u64>()));
    let put = write(&fresh, text).and_then(|()| fs::hard_link(&fresh, path));
    // What is left of one that could not be written is in nobody's way.
    let _ = fs::remove_file(&fresh);
    put
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept_private() {
        let data = tempfile::tempdir().expect("a folder");
        let made = Keys::load_or_create(data.path()).expect("made");
        assert_eq!(Keys::load_or_create(data.path()).expect("read").kid, made.kid);
        let path = data.path().join(FILE);
        assert_eq!(
            fs::metadata(&path).expect("there").permissions().mode() & 0o777,
            0o600
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changed");
        assert!(matches!(Keys::load_or_create(data.path()), Err(KeyError::Open)));
    }

    #[test]
    fn a_file_is_put_there_whole_and_replaces_none() {
        let data = tempfile::tempdir().expect("a folder");
        let path = data.path().join(FILE);
        put(&path, b"first").expect("put");
        let again = put(&path, b"second").expect_err("there is one");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).expect("read"), b"first");
        let files = fs::read_dir(data.path()).expect("a folder").count();
        assert_eq!(files, 1, "nothing is left beside it");
        // A folder that takes no file has none afterwards.
        assert!(put(&data.path().join("none").join(FILE), b"third").is_err());
    }

    #[test]
    fn a_damaged_key_is_refused_and_left_alone() {
        let data = tempfile::tempdir().expect("a folder");
        let path = data.path().join(FILE);
        fs::write(&path, "nonsense").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("changed");
        assert!(matches!(Keys::load_or_create(data.path()), Err(KeyError::Format)));
        assert_eq!(fs::read_to_string(&path).expect("read"), "nonsense");
    }
}
