//! What stands before the DTLS endpoint: it sees whole handshake messages, each ClientHello once, and nothing that can
//! only be forged.
//!
//! `rtc-dtls` 0.21 as a server has faults that this closes from outside:
//! - any handshake record stops the timer that re-sends ServerHello..Done, and a repeated ClientHello yields nothing
//!   else: one lost datagram, and the join is dead. So after the ClientHello with the cookie was handed over, every later
//!   one is kept from it and the timer stays armed; that the client asks again is told ([`Front::take_asked`]);
//! - fragments that a client cuts anew when it repeats them never fit together, and a long chain of them overflows the
//!   stack. So fragments are put together here, in a map of bytes, whatever their overlap and order, and the endpoint is
//!   handed one whole record;
//! - plaintext alerts and data end the handshake. A client that means them gives up by itself; here they are dropped.
//!
//! Both browsers send their ClientHello in two datagrams, so all of this is the ordinary case, not the rare one.

use std::collections::BTreeMap;

use crate::driver::gate::{DtlsBudget, DtlsRefused, FINISHED_BYTES_MAX};

/// Longest handshake message that is put together, in bytes. ClientHellos with post-quantum key shares have 1.5 kB,
/// certificates of browsers 0.3 kB. With [`MESSAGES_MAX`] it bounds what waits to 32 kB.
const MESSAGE_BYTES_MAX: usize = 4_096;

/// Handshake messages of a client have the numbers 0 to 5: two ClientHellos, three of its flight 5, Finished.
const MESSAGES_MAX: u16 = 8;

/// Most fragments that wait for the rest of their message. Overflow: further ones are dropped; the client repeats.
const FRAGMENTS_MAX: u32 = 16;

const RECORD_HEADER: usize = 13;
const HANDSHAKE_HEADER: usize = 12;
const CLIENT_HELLO: u8 = 1;

// RFC 6347 §4.1, content types.
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// One record of a datagram (RFC 6347 §4.1).
struct Record<'d> {
    content: u8,
    epoch: u16,
    /// Header and body as they came.
    bytes: &'d [u8],
    body: &'d [u8],
}

/// Records of a datagram; an error ends it.
fn records(mut datagram: &[u8]) -> impl Iterator<Item = Result<Record<'_>, DtlsRefused>> {
    std::iter::from_fn(move || {
        if datagram.is_empty() {
            return None;
        }
        let record = split_record(datagram);
        datagram = record.as_ref().map_or(&[], |(_, rest)| rest);
        Some(record.map(|(record, _)| record))
    })
}

fn split_record(datagram: &[u8]) -> Result<(Record<'_>, &[u8]), DtlsRefused> {
    let (header, after) = datagram
        .split_first_chunk::<RECORD_HEADER>()
        .ok_or(DtlsRefused::Malformed)?;
    let [content, 0xfe, 0xff | 0xfd, e0, e1, _, _, _, _, _, _, l0, l1] = *header else {
        return Err(DtlsRefused::Malformed);
    };
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let (body, rest) = after.split_at_checked(length).ok_or(DtlsRefused::Malformed)?;
    let (bytes, _) = datagram.split_at(RECORD_HEADER + length);
    Ok((
        Record {
            content,
            epoch: u16::from_be_bytes([e0, e1]),
            bytes,
            body,
        },
        rest,
    ))
}

/// A handshake message or a piece of one (RFC 6347 §4.2.2).
#[derive(Clone, Copy)]
struct Fragment<'d> {
    kind: u8,
    length: usize,
    number: u16,
    offset: usize,
    data: &'d [u8],
}

impl<'d> Fragment<'d> {
    /// The first fragment of a record's body, and the rest.
    fn split(body: &'d [u8]) -> Result<(Self, &'d [u8]), DtlsRefused> {
        let (header, after) = body
            .split_first_chunk::<HANDSHAKE_HEADER>()
            .ok_or(DtlsRefused::Malformed)?;
        let [kind, a0, a1, a2, n0, n1, o0, o1, o2, f0, f1, f2] = *header;
        let number24 = |bytes: [u8; 3]| {
            (usize::from(bytes[0]) << 16) | (usize::from(bytes[1]) << 8) | usize::from(bytes[2])
        };
        let (length, offset) = (number24([a0, a1, a2]), number24([o0, o1, o2]));
        let (data, rest) = after
            .split_at_checked(number24([f0, f1, f2]))
            .ok_or(DtlsRefused::Malformed)?;
        if offset + data.len() > length {
            return Err(DtlsRefused::Malformed);
        }
        Ok((
            Self {
                kind,
                length,
                number: u16::from_be_bytes([n0, n1]),
                offset,
                data,
            },
            rest,
        ))
    }

    fn is_whole(&self) -> bool {
        self.data.len() == self.length
    }
}

/// A message of which pieces are still missing.
struct Partial {
    kind: u8,
    bytes: Vec<u8>,
    have: Vec<bool>,
    fragments: u32,
}

/// What of a datagram goes to the endpoint.
#[derive(Default)]
pub(super) struct Passed {
    /// Records for the endpoint; empty if none is left.
    pub(super) bytes: Vec<u8>,
    /// Body of a ClientHello among them.
    pub(super) hello: Option<Vec<u8>>,
}

/// The front of one association.
#[derive(Default)]
pub(super) struct Front {
    partial: BTreeMap<u16, Partial>,
    /// The ClientHello with the cookie was handed over.
    greeted: bool,
    /// It came once more: the client has not heard our answer.
    asked: bool,
    /// The handshake has ended.
    connected: bool,
    budget: DtlsBudget,
}

impl Front {
    /// The ClientHello with the cookie was handed over: from now on the endpoint re-sends its flight by time.
    pub(super) fn greeted(&self) -> bool {
        self.greeted
    }

    /// Whether the client asked once more for what answers its ClientHello with the cookie, since the last call.
    pub(super) fn take_asked(&mut self) -> bool {
        std::mem::take(&mut self.asked)
    }

    /// The handshake has ended: nothing is reassembled any more.
    pub(super) fn set_connected(&mut self) {
        self.connected = true;
        self.partial.clear();
    }

    /// Takes a datagram. An error if none of its records is of use; it says why the last one is not.
    pub(super) fn handle(&mut self, datagram: &[u8]) -> Result<Passed, DtlsRefused> {
        if !self.connected {
            self.budget.take_handshake_datagram(datagram.len())?;
        }
        let mut passed = Passed::default();
        let mut refused = None;
        for record in records(datagram) {
            if let Err(reason) = record.and_then(|record| self.handle_record(&record, &mut passed)) {
                refused = Some(reason);
            }
        }
        match refused {
            Some(reason) if passed.bytes.is_empty() => Err(reason),
            _ => Ok(passed),
        }
    }

    fn handle_record(&mut self, record: &Record<'_>, passed: &mut Passed) -> Result<(), DtlsRefused> {
        match (record.epoch, record.content, self.connected) {
            // A client that missed our last flight repeats its own, in which Finished is authentic: that alone counts.
            (0, HANDSHAKE, false) => return self.handle_handshake(record, passed),
            // Any other body is a decoding error to the endpoint, which ends the handshake.
            (0, CHANGE_CIPHER_SPEC, false) if record.body == [1] => {
                self.budget.take_early_record(record.bytes.len())?;
            }
            (1, HANDSHAKE, _) if record.body.len() > FINISHED_BYTES_MAX => {
                return Err(DtlsRefused::Fragments);
            }
            (1, HANDSHAKE | ALERT, false) => self.budget.take_early_record(record.bytes.len())?,
            (1, HANDSHAKE, true) => self.budget.take_late_record()?,
            (1, ALERT, true) => self.budget.take_alert()?,
            _ => return Err(DtlsRefused::Useless),
        }
        passed.bytes.extend_from_slice(record.bytes);
        Ok(())
    }

    /// Messages of a plaintext handshake record: those that are whole now go on in one record with its number.
    fn handle_handshake(&mut self, record: &Record<'_>, passed: &mut Passed) -> Result<(), DtlsRefused> {
        let mut body = record.body;
        let mut messages = Vec::new();
        let mut result = Err(DtlsRefused::Useless);
        while !body.is_empty() {
            let (fragment, rest) = Fragment::split(body)?;
            body = rest;
            result = self.handle_fragment(fragment, &mut messages, passed);
        }
        if messages.is_empty() {
            return result;
        }
        let Ok(length) = u16::try_from(messages.len()) else {
            return Err(DtlsRefused::Malformed);
        };
        passed.bytes.extend_from_slice(&record.bytes[..RECORD_HEADER - 2]);
        passed.bytes.extend_from_slice(&length.to_be_bytes());
        passed.bytes.append(&mut messages);
        Ok(())
    }

    fn handle_fragment(
        &mut self,
        fragment: Fragment<'_>,
        messages: &mut Vec<u8>,
        passed: &mut Passed,
    ) -> Result<(), DtlsRefused> {
        let is_hello = fragment.kind == CLIENT_HELLO;
        if fragment.number >= MESSAGES_MAX || fragment.length > MESSAGE_BYTES_MAX {
            return Err(DtlsRefused::Fragments);
        }
        if is_hello != (fragment.number < 2) {
            return Err(DtlsRefused::Useless);
        }
        if is_hello && self.greeted {
            // It may come in pieces: its beginning counts.
            self.asked |= fragment.number == 1 && fragment.offset == 0;
            return Err(DtlsRefused::Useless);
        }
        let whole = if fragment.is_whole() {
            fragment.data.to_vec()
        } else {
            self.put_together(fragment)?
        };
        if whole.len() < fragment.length {
            return Ok(()); // still pieces missing
        }
        self.partial.remove(&fragment.number);
        self.greeted |= is_hello && fragment.number == 1;
        write_message(&fragment, &whole, messages);
        if is_hello {
            passed.hello = Some(whole);
        }
        Ok(())
    }

    /// Adds a fragment to its message; the message once it is whole, nothing before.
    fn put_together(&mut self, fragment: Fragment<'_>) -> Result<Vec<u8>, DtlsRefused> {
        let waiting: u32 = self.partial.values().map(|p| p.fragments).sum();
        if waiting >= FRAGMENTS_MAX || fragment.data.is_empty() {
            return Err(DtlsRefused::Fragments);
        }
        let partial = self.partial.entry(fragment.number).or_insert_with(|| Partial {
            kind: fragment.kind,
            bytes: vec![0; fragment.length],
            have: vec![false; fragment.length],
            fragments: 0,
        });
        if (partial.kind, partial.bytes.len()) != (fragment.kind, fragment.length) {
            return Err(DtlsRefused::Fragments);
        }
        let range = fragment.offset..fragment.offset + fragment.data.len();
        if partial.have[range.clone()].iter().all(|&have| have) {
            return Ok(Vec::new()); // a repeat
        }
        partial.bytes[range.clone()].copy_from_slice(fragment.data);
        partial.have[range].fill(true);
        partial.fragments += 1;
        let whole = partial.have.iter().all(|&have| have);
        Ok(if whole {
            std::mem::take(&mut partial.bytes)
        } else {
            Vec::new()
        })
    }
}

/// A message as one fragment.
fn write_message(fragment: &Fragment<'_>, whole: &[u8], out: &mut Vec<u8>) {
    let length = &(whole.len() as u32).to_be_bytes()[1..];
    out.push(fragment.kind);
    out.extend_from_slice(length);
    out.extend_from_slice(&fragment.number.to_be_bytes());
    out.extend_from_slice(&[0; 3]);
    out.extend_from_slice(length);
    out.extend_from_slice(whole);
}

/// The SRTP profiles a ClientHello offers, in its order (`use_srtp`, RFC 5764 §4.1.1); none if it has no such extension
/// or cannot be read.
pub(super) fn srtp_profiles(hello: &[u8]) -> Vec<u16> {
    read_profiles(hello).unwrap_or_default()
}

fn read_profiles(hello: &[u8]) -> Option<Vec<u16>> {
    const USE_SRTP: u16 = 14;
    let rest = hello.get(34..)?; // version, random
    let rest = skip_list8(rest)?; // session id
    let rest = skip_list8(rest)?; // cookie
    let (_, rest) = split_list16(rest)?; // cipher suites
    let rest = skip_list8(rest)?; // compression methods
    let (mut extensions, _) = split_list16(rest)?;
    while let Some((kind, after)) = extensions.split_first_chunk::<2>() {
        let (value, rest) = split_list16(after)?;
        if u16::from_be_bytes(*kind) == USE_SRTP {
            let (profiles, _) = split_list16(value)?;
            return Some(
                profiles
                    .chunks_exact(2)
                    .map(|p| u16::from_be_bytes([p[0], p[1]]))
                    .collect(),
            );
        }
        extensions = rest;
    }
    None
}

fn skip_list8(bytes: &[u8]) -> Option<&[u8]> {
    let (&length, rest) = bytes.split_first()?;
    rest.get(usize::from(length)..)
}

fn split_list16(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}
