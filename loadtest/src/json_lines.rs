//! Results as JSON, one object per line.

use std::{fs::File, io::Write, path::Path};

use anyhow::Context as _;
use serde::Serialize;

/// Where the objects go; nowhere if nobody asked for them.
pub(crate) struct JsonLines(Option<Box<dyn Write>>);

impl JsonLines {
    /// To a file that is made anew.
    pub(crate) fn to_file(path: Option<&Path>) -> anyhow::Result<Self> {
        let create =
            |path: &Path| File::create(path).with_context(|| format!("cannot write {}", path.display()));
        let file = path.map(create).transpose()?;
        Ok(Self(file.map(|file| Box::new(file) as Box<dyn Write>)))
    }

    /// To the standard output.
    pub(crate) fn to_stdout() -> Self {
        Self(Some(Box::new(std::io::stdout())))
    }

    /// One line, written through: whoever reads along has it.
    pub(crate) fn write(&mut self, object: &impl Serialize) -> anyhow::Result<()> {
        if let Some(out) = &mut self.0 {
            // Written at once: so an error is that of the file, as whoever asks for the kind of it expects.
            let line = serde_json::to_string(object)? + "\n";
            out.write_all(line.as_bytes())?;
            out.flush()?;
        }
        Ok(())
    }
}
