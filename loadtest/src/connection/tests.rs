//! TLS as it is spoken: a server with a certificate of an authority made for the test.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
    },
};

use super::*;
use crate::{
    http,
    signal::{Incoming, Signal},
};

const ANSWER: &str = "HTTP/1.1 201 Created\r\nLocation: /s/1\r\nContent-Length: 5\r\n\r\nv=0\r\n";

/// An authority, and what it vouches for.
pub(crate) struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(folder.path().join("ca.crt"), certificate.pem()).expect("written");
        Self {
            folder,
            issuer: Issuer::new(params, key),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::read(Some(&self.file()), None).expect("a certificate")
    }

    pub(crate) fn acceptor(
        &self,
        change: impl FnOnce(&mut CertificateParams),
        names: &[&str],
    ) -> TlsAcceptor {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a pair");
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Serves whoever comes in TLS with `play`. Its port.
pub(crate) async fn serve<F>(
    acceptor: TlsAcceptor,
    play: impl Fn(TlsStream<TcpStream>) -> F + Send + 'static,
) -> u16
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                play(stream).await;
            }
        }
    });
    port
}

/// Reads a request and answers it; `ends` says whether the connection is closed as TLS has it.
async fn answer(mut stream: TlsStream<TcpStream>, answer: &str, ends: bool) {
    let mut request = [0; 4_096];
    let length = stream.read(&mut request).await.expect("a request");
    assert!(request[..length].starts_with(b"POST /whip HTTP/1.0\r\nHost: 127.0.0.1:"));
    stream.write_all(answer.as_bytes()).await.expect("written");
    stream.flush().await.expect("written");
    if ends {
        stream.shutdown().await.expect("an end");
    }
}

async fn post(host: &str, port: u16, trust: Option<&Trust>) -> Result<http::Answer, String> {
    let address = format!("https://{host}:{port}/whip").parse().expect("an address");
    let answer = http::request("POST", &address, &[], "", trust).await;
    answer.map_err(|error| format!("{error:#}"))
}

#[tokio::test]
async fn a_request_goes_to_whom_the_own_authority_vouches_for_and_to_nobody_else() {
    let authority = Authority::new("own");
    let acceptor = authority.acceptor(|_| {}, &["127.0.0.1"]);
    let port = serve(acceptor, |stream| answer(stream, ANSWER, true)).await;
    let answer = post("127.0.0.1", port, Some(&authority.trust()))
        .await
        .expect("an answer");
    assert_eq!((answer.status, answer.body.as_str()), (201, "v=0\r\n"));

    for (name, words) in [("another", "not known here"), ("own", "another of the same name")] {
        let stranger = Authority::new(name).trust();
        let answer = post("127.0.0.1", port, Some(&stranger)).await;
        let error = answer.expect_err("a stranger");
        assert!(error.contains(words) && error.contains("--ca"), "{error}");
    }
    let error = post("localhost", port, Some(&authority.trust()))
        .await
        .expect_err("another name");
    assert!(error.contains("not for localhost, only for 127.0.0.1"), "{error}");
    let error = post("127.0.0.1", port, None).await.expect_err("no trust");
    assert!(error.contains("none was expected"), "{error}");
}

#[tokio::test]
async fn an_end_without_a_word_of_tls_takes_nothing_from_a_whole_answer() {
    let authority = Authority::new("own");
    let trust = authority.trust();
    let whole = authority.acceptor(|_| {}, &["127.0.0.1"]);
    let port = serve(whole, |stream| answer(stream, ANSWER, false)).await;
    assert_eq!(
        post("127.0.0.1", port, Some(&trust))
            .await
            .expect("an answer")
            .status,
        201
    );
    let cut = authority.acceptor(|_| {}, &["127.0.0.1"]);
    let port = serve(cut, |stream| answer(stream, &ANSWER[..ANSWER.len() - 1], false)).await;
    let error = post("127.0.0.1", port, Some(&trust))
        .await
        .expect_err("half an answer");
    assert!(error.contains("cut off"), "{error}");
}

#[tokio::test]
async fn a_certificate_out_of_its_time_and_a_server_without_tls_are_told_in_words() {
    let authority = Authority::new("own");
    let trust = authority.trust();
    let old = |params: &mut CertificateParams| params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let port = serve(authority.acceptor(old, &["127.0.0.1"]), |_| async {}).await;
    let error = post("127.0.0.1", port, Some(&trust)).await.expect_err("too old");
    assert!(error.contains("has expired"), "{error}");
    let young = |params: &mut CertificateParams| params.not_before = rcgen::date_time_ymd(4000, 1, 1);
    let port = serve(authority.acceptor(young, &["127.0.0.1"]), |_| async {}).await;
    let error = post("127.0.0.1", port, Some(&trust))
        .await
        .expect_err("too young");
    assert!(error.contains("compare the clocks"), "{error}");

    let port = serve(authority.acceptor(|_| {}, &["127.0.0.1"]), |_| async {}).await;
    let plain = format!("http://127.0.0.1:{port}").parse().expect("an address");
    let error = http::request("POST", &plain, &[], "", None)
        .await
        .expect_err("TLS");
    assert!(error.to_string().contains("https://"), "{error}");
    let error = Signal::open(&plain, None).await.expect_err("TLS");
    assert!(error.to_string().contains("https://"), "{error}");

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("somebody");
        let mut request = [0; 4_096];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    let error = post("127.0.0.1", port, Some(&trust)).await.expect_err("no TLS");
    assert!(error.contains("does not speak TLS"), "{error}");
}

#[tokio::test]
async fn a_websocket_opens_in_tls_with_the_origin_of_the_page() {
    let authority = Authority::new("own");
    let acceptor = authority.acceptor(|_| {}, &["127.0.0.1", "localhost"]);
    let port = serve(acceptor, async |stream| {
        #[allow(clippy::result_large_err, reason = "the library's type")]
        let seen = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            let header = |name| request.headers()[name].to_str().expect("text").to_owned();
            assert_eq!(header("origin"), format!("https://{}", header("host")));
            assert_eq!(request.uri().path(), "/ws");
            Ok(response)
        };
        let mut socket = accept_hdr_async(stream, seen).await.expect("a socket");
        let said = socket.send(Message::text("no message of the protocol")).await;
        said.expect("sent");
        // The client says goodbye and waits for the answer.
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    for host in ["127.0.0.1", "localhost"] {
        let page = format!("https://{host}:{port}/").parse().expect("an address");
        let mut signal = Signal::open(&page, Some(&authority.trust())).await.expect("open");
        assert!(matches!(signal.next().await, Incoming::Foreign(_)), "{host}");
        drop(signal);
    }
    let page = format!("https://127.0.0.1:{port}").parse().expect("an address");
    let stranger = Authority::new("another").trust();
    let opened = tokio::time::timeout(Duration::from_secs(5), Signal::open(&page, Some(&stranger))).await;
    let error = opened.expect("at once").expect_err("a stranger");
    let error = format!("{error:#}");
    assert!(
        error.starts_with("the socket did not open: ") && error.contains("--ca"),
        "{error}"
    );
}
