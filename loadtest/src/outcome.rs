//! How the program ends: what its exit status says, and what it prints to whom.

use std::{
    fmt,
    io::{self, Write as _},
    process::ExitCode,
};

/// The exit status of arguments that cannot be obeyed, as clap has it.
const BAD_ARGUMENTS: u8 = 2;

/// Marks an error as one of the arguments, or of a file that they name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadArguments;

impl fmt::Display for BadArguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bad arguments")
    }
}

/// For errors that are the fault of whoever named the arguments.
pub(crate) trait OrBadArguments<T> {
    fn or_bad_arguments(self) -> anyhow::Result<T>;
}

impl<T> OrBadArguments<T> for anyhow::Result<T> {
    fn or_bad_arguments(self) -> Self {
        self.map_err(|error| error.context(BadArguments))
    }
}

/// The exit status: whether all is well, or what went wrong, which is said.
pub(crate) fn exit(result: anyhow::Result<bool>) -> ExitCode {
    if let Err(error) = &result
        && !is_unread(error)
    {
        let _ = writeln!(io::stderr(), "diemcau-load: {error:#}");
    }
    ExitCode::from(status(&result))
}

fn status(result: &anyhow::Result<bool>) -> u8 {
    match result {
        Ok(true) => 0,
        Err(error) if error.is::<BadArguments>() => BAD_ARGUMENTS,
        Ok(false) | Err(_) => 1,
    }
}

/// Of what measures and judges nothing: whoever reads no further, such as `head`, has what he wants.
pub(crate) fn unjudged(result: anyhow::Result<()>) -> anyhow::Result<bool> {
    match result {
        Err(error) if !is_unread(&error) => Err(error),
        Ok(()) | Err(_) => Ok(true),
    }
}

/// Nobody reads the standard output any more.
fn is_unread(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// A line on the standard output. `println!` would panic when nobody reads it.
pub(crate) fn say(words: impl fmt::Display) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout(), "{words}")?)
}

/// A line on the standard error, for people; whether anybody reads it is no matter.
pub(crate) fn say_aside(words: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{words}");
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn the_exit_status_tells_bad_arguments_from_a_run_that_went_wrong() {
        assert_eq!(status(&Ok(true)), 0);
        assert_eq!(status(&Ok(false)), 1);
        assert_eq!(status(&Err(anyhow!("no server"))), 1);
        let bad: anyhow::Result<bool> = Err(anyhow!("no such file"));
        let bad = bad.or_bad_arguments();
        assert_eq!(status(&bad), 2);
        let words = format!("{:#}", bad.unwrap_err().context("later"));
        assert_eq!(words, "later: bad arguments: no such file");
    }

    #[test]
    fn whoever_reads_no_further_makes_no_failure_of_a_measurement() {
        let closed = || anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(unjudged(Err(closed())).unwrap());
        assert_eq!(status(&Err(closed())), 1, "a verdict that nobody heard is none");
        assert!(unjudged(Err(anyhow!("no memory"))).is_err());
        assert!(is_unread(&closed().context("a row")));
    }
}
