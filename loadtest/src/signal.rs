//! The WebSocket of one point.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _, error::ProtocolError, http::HeaderValue},
};

use crate::{
    address::Address,
    bot::rejoin,
    connection::{self, Connection},
    http::SPEAKS_TLS,
    protocol::{ClientMessage, ServerMessage},
    trust::Trust,
};

/// Longest wait for the socket to open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// An open socket that speaks the client protocol.
#[derive(Debug)]
pub(crate) struct Signal {
    socket: WebSocketStream<Box<dyn Connection>>,
}

/// What came.
#[derive(Debug)]
pub(crate) enum Incoming {
    Message(Box<ServerMessage>),
    /// Not a message of the protocol: the reason, without the content.
    Foreign(String),
    /// The socket is closed, with this code if there was one.
    Closed(Option<u16>),
}

impl Signal {
    /// Opens the WebSocket of a server's page.
    pub(crate) async fn open(page: &Address, trust: Option<&Trust>) -> anyhow::Result<Self> {
        let mut request = page.socket().into_client_request().context("--url")?;
        let origin = HeaderValue::from_str(&page.origin()).context("--url")?;
        request.headers_mut().insert("Origin", origin);
        let opening = async {
            let connection = connection::open(page, trust).await;
            let connection = connection.context("the socket did not open")?;
            anyhow::Ok(client_async(request, connection).await)
        };
        let opened = tokio::time::timeout(OPEN_TIMEOUT, opening).await;
        match opened.context("the socket did not open in time")?? {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(Error::Http(answer)) => {
                let status = answer.status().as_u16();
                let retry_after = answer.headers().get("Retry-After");
                let retry_after = retry_after.and_then(|value| value.to_str().ok());
                let error = anyhow!("the server answers {status}");
                Err(rejoin::marked(error, rejoin::of_answer(status, retry_after)))
            }
            Err(Error::Protocol(ProtocolError::HttparseError(_))) if !page.is_secure => {
                Err(anyhow!("the socket did not open: {SPEAKS_TLS}"))
            }
            Err(error) => Err(error).context("the socket did not open"),
        }
    }

    /// Sends a message.
    pub(crate) async fn send(&mut self, message: &ClientMessage) -> anyhow::Result<()> {
        let text = serde_json::to_string(message).context("a message can be written")?;
        self.socket
            .send(Message::text(text))
            .await
            .context("the socket is gone")
    }

    /// The next thing that comes. May be dropped while it waits: nothing is lost.
    pub(crate) async fn next(&mut self) -> Incoming {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    return match serde_json::from_str(text.as_str()) {
                        Ok(message) => Incoming::Message(Box::new(message)),
                        Err(error) => Incoming::Foreign(error.to_string()),
                    };
                }
                Some(Ok(Message::Binary(_))) => return Incoming::Foreign("a binary frame".to_owned()),
                Some(Ok(Message::Close(frame))) => {
                    return Incoming::Closed(frame.map(|frame| u16::from(frame.code)));
                }
                Some(Ok(_)) => {} // ping and pong are answered by the library
                Some(Err(_)) | None => return Incoming::Closed(None),
            }
        }
    }

    /// Says that the point leaves, and reads until the server has closed: a socket dropped with unread frames in it is reset,
    /// and the server might never read the word.
    pub(crate) async fn leave(mut self) {
        let farewell = async {
            if self.send(&ClientMessage::Leave {}).await.is_ok() {
                while !matches!(self.next().await, Incoming::Closed(_)) {}
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), farewell).await;
    }
}
