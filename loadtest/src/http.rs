//! One HTTP request at a time, as much of it as is needed here: plain `http://`, no redirects, the answer to its end.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// Longest wait for it.
const TIMEOUT: Duration = Duration::from_secs(10);

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

/// Splits an `http://` address into host with port, and path.
pub(crate) fn split(url: &str) -> anyhow::Result<(String, String)> {
    let rest = url
        .strip_prefix("http://")
        .context("an http:// address is needed; https is not spoken here")?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    ensure!(
        !host.is_empty() && !rest.contains(['\r', '\n', ' ']),
        "not an address"
    );
    let host = if host.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    Ok((
        host,
        if path.is_empty() {
            "/".to_owned()
        } else {
            path.to_owned()
        },
    ))
}

/// Sends a request and reads the answer. HTTP/1.0, so that the answer ends with its connection.
pub(crate) async fn request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> anyhow::Result<Answer> {
    let (host, path) = split(url)?;
    let mut text = format!(
        "{method} {path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.push_str(body);
    let exchange = async {
        let mut stream = TcpStream::connect(&host).await?;
        stream.write_all(text.as_bytes()).await?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = tokio::time::timeout(TIMEOUT, exchange)
        .await
        .context("no answer in time")??;
    Answer::parse(&answer)
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
    fn an_address_is_split_and_a_bad_one_refused() {
        let split = |url| split(url).map(|(host, path)| format!("{host} {path}"));
        assert_eq!(split("http://a:1/b?c=d").unwrap(), "a:1 /b?c=d");
        assert_eq!(split("http://a").unwrap(), "a:80 /");
        for bad in ["https://a/", "http:///b", "http://a/b\r\nX: y", "a"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }
}
