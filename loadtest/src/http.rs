//! One HTTP request at a time, as much of it as is needed here: no redirects, the answer to its end.

use std::{io::ErrorKind, time::Duration};

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{address::Address, connection, trust::Trust};

/// Longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// Longest wait for it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How a server of TLS answers whoever speaks plainly: an alert, of whatever version (RFC 8446 section 5.1).
const TLS_ALERT: [u8; 2] = [21, 3];
/// What to do about that.
pub(crate) const SPEAKS_TLS: &str = "what answers there does not speak plain HTTP: an https:// address?";

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// The first header of that name, in whatever case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// As long as its head says.
    fn is_whole(&self) -> bool {
        let length = self.header("Content-Length");
        length.and_then(|length| length.parse().ok()) == Some(self.body.len())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let (head, body) = text
            .split_once("\r\n\r\n")
            .context("an answer without an end of its head")?;
        let mut lines = head.lines();
        let first = lines.next().unwrap_or_default();
        let mut words = first.split_ascii_whitespace();
        ensure!(
            words.next().is_some_and(|word| word.starts_with("HTTP/")),
            "not HTTP"
        );
        let status = words
            .next()
            .and_then(|word| word.parse().ok())
            .context("no status")?;
        let pairs = lines.filter_map(|line| line.split_once(':'));
        Ok(Self {
            status,
            headers: pairs
                .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                .collect(),
            body: body.to_owned(),
        })
    }
}

/// Sends a request and reads the answer. HTTP/1.0, so that the answer ends with its connection.
pub(crate) async fn request(
    method: &str,
    address: &Address,
    headers: &[(&str, &str)],
    body: &str,
    trust: Option<&Trust>,
) -> anyhow::Result<Answer> {
    let mut text = format!(
        "{method} {} HTTP/1.0\r\nHost: {}\r\nContent-Length: {}\r\n",
        address.path,
        address.authority(),
        body.len()
    );
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.push_str(body);
    let exchange = async {
        let mut stream = connection::open(address, trust).await?;
        stream.write_all(text.as_bytes()).await?;
        stream.flush().await?;
        let mut bytes = Vec::new();
        let end = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).await;
        ensure!(!bytes.starts_with(&TLS_ALERT), "{SPEAKS_TLS}");
        let answer = Answer::parse(std::str::from_utf8(&bytes).context("an answer that is not text")?);
        match end {
            Ok(_) => answer,
            // Servers that end a connection without a word of TLS: what the head promised is there all the same.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => answer
                .ok()
                .filter(Answer::is_whole)
                .context("the answer was cut off"),
            Err(error) => Err(error.into()),
        }
    };
    tokio::time::timeout(TIMEOUT, exchange)
        .await
        .context("no answer in time")?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let answer = Answer::parse("HTTP/1.1 201 Created\r\nlocation: /whip/a:b\r\n\r\nv=0\r\n\r\n").unwrap();
        assert_eq!(
            (answer.status, answer.header("Location")),
            (201, Some("/whip/a:b"))
        );
        assert_eq!(answer.body, "v=0\r\n\r\n");
        for bad in ["", "HTTP/1.1 201", "SMTP 1\r\n\r\n", "HTTP/1.1 x\r\n\r\n"] {
            assert!(Answer::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_answer_is_whole_when_it_is_as_long_as_it_says() {
        let is_whole = |head, body| {
            let answer = Answer::parse(&format!("HTTP/1.0 201 Created\r\n{head}\r\n{body}"));
            answer.unwrap().is_whole()
        };
        assert!(is_whole("content-length: 4\r\n", "v=0\n"));
        assert!(!is_whole("content-length: 4\r\n", "v=0"));
        assert!(!is_whole("", "v=0"));
    }
}
