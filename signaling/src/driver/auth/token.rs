//! JSON Web Tokens with one pinned algorithm (EdDSA), a `kid`, and every claim required that decides anything.
//!
//! Room tokens and resume tokens have different audiences, so that one never passes for the other. What a role may do
//! stands in the server's table, not in the token.

use jsonwebtoken::{Algorithm, Header, Validation};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sfu::{
    control::{RoomId, SeatId},
    engine::id::PointNumber,
};

use super::Keys;
use crate::{
    engine::seat::{Claim, Person},
    names::{DisplayName, Role, SiteId, Token},
    protocol::ErrorCode,
};

/// Clocks of issuers and servers may differ by this much.
pub const SKEW_SECONDS: u64 = 60;

/// How long a seat that is not held any more may be taken again.
pub const RESUME_LIFE_SECONDS: u64 = 24 * 3600;

/// Longest life of a room token that is believed: a longer one is a mistake of its issuer.
const LIFE_SECONDS_MAX: u64 = 400 * 24 * 3600;

const ISSUER: &str = "diemcau";
const ROOM_AUDIENCE: &str = "diemcau:room";
const RESUME_AUDIENCE: &str = "diemcau:resume";

/// Longest `sub` in bytes; control characters are refused.
const SUBJECT_BYTES_MAX: usize = 128;

/// What a room token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomToken {
    /// The room it opens.
    pub room: RoomId,
    /// Who holds it.
    pub person: Person,
    /// Seconds since 1970 from which it is good.
    pub not_before: u64,
    /// Seconds since 1970 until which it opens a session.
    pub expires: u64,
}

impl RoomToken {
    /// Whether it opens no session any more by itself.
    pub fn is_expired(&self, now: u64) -> bool {
        in_time(self.not_before, self.expires, now) == Err(TokenError::Expired)
    }
}

/// Why a token was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not ours, damaged, another algorithm or audience, not yet valid, or claims that are none.
    #[error("token refused")]
    Bad,
    /// It was ours.
    #[error("token expired")]
    Expired,
}

impl From<TokenError> for ErrorCode {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Bad => Self::BadToken,
            TokenError::Expired => Self::TokenExpired,
        }
    }
}

/// Numbers are numbers and texts are texts: a claim of a wrong type makes the token bad instead of the claim absent.
#[derive(Serialize, Deserialize)]
struct RoomClaims {
    iss: String,
    aud: String,
    sub: String,
    nbf: u64,
    exp: u64,
    room: RoomId,
    role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    site: Option<SiteId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct ResumeClaims {
    iss: String,
    aud: String,
    sub: String,
    nbf: u64,
    exp: u64,
    room: RoomId,
    seat: SeatId,
    number: PointNumber,
    name: DisplayName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    site: Option<SiteId>,
    role: Role,
}

impl Keys {
    /// Signs a room token.
    pub fn sign_room(&self, token: &RoomToken) -> Token {
        self.sign(&RoomClaims {
            iss: ISSUER.into(),
            aud: ROOM_AUDIENCE.into(),
            sub: token.person.subject.clone(),
            nbf: token.not_before,
            exp: token.expires,
            room: token.room.clone(),
            role: token.person.role,
            site: token.person.site.clone(),
            name: token.person.name.clone().map(String::from),
        })
    }

    /// Reads a room token. One that was ours and has expired is read too: beside a good resume token it still says whose
    /// session it is ([`RoomToken::is_expired`]).
    ///
    /// # Errors
    /// [`TokenError::Bad`]
    pub fn read_room(&self, token: &Token, now: u64) -> Result<RoomToken, TokenError> {
        let claims: RoomClaims = self.read(token, ROOM_AUDIENCE)?;
        let name = match claims.name {
            Some(name) if !name.is_empty() => Some(DisplayName::try_from(name).map_err(|_| TokenError::Bad)?),
            _ => None,
        };
        let life = claims.exp.checked_sub(claims.nbf).ok_or(TokenError::Bad)?;
        // In JSON a control character takes six bytes, and a resume token has to hold it too.
        let sub_fits = claims.sub.len() <= SUBJECT_BYTES_MAX && !claims.sub.chars().any(char::is_control);
        if !sub_fits || life > LIFE_SECONDS_MAX {
            return Err(TokenError::Bad);
        }
        let person = Person {
            subject: claims.sub,
            name,
            site: claims.site,
            role: claims.role,
        };
        match in_time(claims.nbf, claims.exp, now) {
            Err(TokenError::Bad) => Err(TokenError::Bad),
            Ok(()) | Err(TokenError::Expired) => Ok(RoomToken {
                room: claims.room,
                person,
                not_before: claims.nbf,
                expires: claims.exp,
            }),
        }
    }

    /// Signs a resume token.
    pub fn sign_resume(&self, claim: &Claim, now: u64) -> Token {
        self.sign(&ResumeClaims {
            iss: ISSUER.into(),
            aud: RESUME_AUDIENCE.into(),
            sub: claim.subject.clone(),
            nbf: now,
            exp: now + RESUME_LIFE_SECONDS,
            room: claim.room.clone(),
            seat: claim.seat.clone(),
            number: claim.number,
            name: claim.name.clone(),
            site: claim.site.clone(),
            role: claim.role,
        })
    }

    /// Reads a resume token. One that was ours and has expired is read too: it still takes a seat that is held ([`Claim::expired`]).
    ///
    /// # Errors
    /// [`TokenError::Bad`]
    pub fn read_resume(&self, token: &Token, now: u64) -> Result<Claim, TokenError> {
        let claims: ResumeClaims = self.read(token, RESUME_AUDIENCE)?;
        // Whoever signed it is who reads it: where it is not good yet the clock was set back, and the seat is there all the same.
        let expired = in_time(0, claims.exp, now).is_err();
        Ok(Claim {
            room: claims.room,
            seat: claims.seat,
            number: claims.number,
            subject: claims.sub,
            name: claims.name,
            site: claims.site,
            role: claims.role,
            expired,
        })
    }

    fn sign(&self, claims: &impl Serialize) -> Token {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.kid.clone());
        let text = jsonwebtoken::encode(&header, claims, &self.encoding)
            .expect("the key is Ed25519, claims are text");
        Token::try_from(text).expect("claims are limited, so the token is")
    }

    /// Signature, algorithm, key, issuer and audience. Times are the caller's, by the clock it was given.
    fn read<C: DeserializeOwned>(&self, token: &Token, audience: &str) -> Result<C, TokenError> {
        let header = jsonwebtoken::decode_header(token.as_str()).map_err(|_| TokenError::Bad)?;
        if header.alg != Algorithm::EdDSA || header.kid.as_deref() != Some(self.kid.as_str()) {
            return Err(TokenError::Bad);
        }
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
        validation.set_audience(&[audience]);
        validation.set_issuer(&[ISSUER]);
        validation.validate_exp = false;
        jsonwebtoken::decode::<C>(token.as_str(), &self.decoding, &validation)
            .map(|data| data.claims)
            .map_err(|_| TokenError::Bad)
    }
}

fn in_time(not_before: u64, expires: u64, now: u64) -> Result<(), TokenError> {
    if now + SKEW_SECONDS < not_before {
        return Err(TokenError::Bad);
    }
    if now > expires.saturating_add(SKEW_SECONDS) {
        return Err(TokenError::Expired);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::EncodingKey;
    use serde_json::{Value, json};

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn keys() -> Keys {
        Keys::load_or_create(tempfile::tempdir().expect("a folder").path()).expect("made")
    }

    fn claims() -> Value {
        json!({"iss": "diemcau", "aud": "diemcau:room", "sub": "s", "nbf": NOW, "exp": NOW + 60, "room": "demo",
            "role": "delegate", "name": "", "site": "tinh.co-to"})
    }

    fn signed(keys: &Keys, claims: &Value) -> Token {
        keys.sign(claims)
    }

    #[test]
    fn a_room_token_reads_back_what_was_signed() {
        let keys = keys();
        let token = RoomToken {
            room: RoomId::try_from("demo".to_owned()).expect("a room"),
            person: Person {
                subject: "x".into(),
                name: None,
                site: None,
                role: Role::Chair,
            },
            not_before: NOW,
            expires: NOW + 10,
        };
        assert_eq!(keys.read_room(&keys.sign_room(&token), NOW), Ok(token.clone()));
        assert!(
            keys.read_room(&keys.sign_room(&token), NOW + 70).is_ok(),
            "60 s of skew"
        );
        let late = keys
            .read_room(&keys.sign_room(&token), NOW + 71)
            .expect("was ours");
        assert!(late.is_expired(NOW + 71) && !late.is_expired(NOW + 70));
        assert!(keys.read_room(&keys.sign_room(&token), NOW - 60).is_ok());
        assert_eq!(
            keys.read_room(&keys.sign_room(&token), NOW - 61),
            Err(TokenError::Bad)
        );
    }

    #[test]
    fn claims_that_are_wrong_or_missing_make_a_token_bad() {
        let keys = keys();
        assert!(keys.read_room(&signed(&keys, &claims()), NOW).is_ok());
        let changes: [(&str, Value); 17] = [
            ("iss", json!("other")),
            ("aud", json!("diemcau:resume")),
            ("aud", json!(["x"])),
            ("exp", json!("1900000000")),
            ("exp", json!(9e18)),
            ("exp", json!(-1)),
            ("exp", json!(NOW - 1)),
            ("exp", json!(NOW + LIFE_SECONDS_MAX + 1)),
            ("nbf", json!(NOW + 61)),
            ("nbf", json!("now")),
            ("room", json!("../x")),
            ("room", json!("")),
            ("role", json!("god")),
            ("site", json!("UPPER")),
            ("name", json!("a\u{202E}b")),
            ("sub", json!("x".repeat(129))),
            ("sub", json!("a\u{1}b")),
        ];
        for (claim, value) in changes {
            let mut changed = claims();
            changed[claim] = value.clone();
            let read = keys.read_room(&signed(&keys, &changed), NOW);
            assert_eq!(read, Err(TokenError::Bad), "{claim} = {value}");
        }
        for claim in ["iss", "aud", "sub", "nbf", "exp", "room", "role"] {
            let mut changed = claims();
            changed.as_object_mut().expect("an object").remove(claim);
            assert_eq!(
                keys.read_room(&signed(&keys, &changed), NOW),
                Err(TokenError::Bad),
                "no {claim}"
            );
        }
    }

    #[test]
    fn other_keys_algorithms_and_audiences_are_refused() {
        let (ours, theirs) = (keys(), keys());
        let bad = Err(TokenError::Bad);
        assert_eq!(
            ours.read_room(&signed(&theirs, &claims()), NOW),
            bad,
            "foreign key"
        );
        let raw = |header: Header, key: &EncodingKey| {
            Token::try_from(jsonwebtoken::encode(&header, &claims(), key).expect("signed")).expect("a token")
        };
        // Signed by a foreign key under our kid; ours without a kid or with a strange one.
        let with_kid = |kid: Option<&str>| {
            let mut header = Header::new(Algorithm::EdDSA);
            header.kid = kid.map(str::to_owned);
            header
        };
        assert_eq!(
            ours.read_room(&raw(with_kid(Some(&ours.kid)), &theirs.encoding), NOW),
            bad
        );
        assert_eq!(ours.read_room(&raw(with_kid(None), &ours.encoding), NOW), bad);
        assert_eq!(
            ours.read_room(&raw(with_kid(Some("../../x")), &ours.encoding), NOW),
            bad
        );
        // The public key as an HMAC secret.
        let mut hmac = Header::new(Algorithm::HS256);
        hmac.kid = Some(ours.kid.clone());
        let secret = EncodingKey::from_secret(ours.decoding.try_get_as_bytes().expect("raw"));
        assert_eq!(ours.read_room(&raw(hmac, &secret), NOW), bad);
        // `alg: none`, and a good token with a letter changed or cut off.
        let good = String::from(signed(&ours, &claims()));
        let (_, rest) = good.split_once('.').expect("three parts");
        let (payload, _) = rest.split_once('.').expect("three parts");
        let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{payload}.");
        let cut = good[..good.len() - 2].to_owned();
        let mut changed = good.clone().into_bytes();
        let middle = changed.len() / 2;
        changed[middle] = if changed[middle] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).expect("ASCII");
        for text in [none, cut, changed, "a.b.c".into(), "...".into()] {
            assert_eq!(ours.read_room(&Token::try_from(text).expect("a word"), NOW), bad);
        }
    }

    #[test]
    fn a_resume_token_is_no_room_token_and_the_other_way_round() {
        let keys = keys();
        let claim = Claim {
            room: RoomId::try_from("demo".to_owned()).expect("a room"),
            seat: SeatId::try_from("abc".to_owned()).expect("a seat"),
            number: PointNumber::try_from(3).expect("a number"),
            subject: "x".into(),
            name: DisplayName::try_from("Ánh".to_owned()).expect("a name"),
            site: None,
            role: Role::Guest,
            expired: false,
        };
        let resume = keys.sign_resume(&claim, NOW);
        assert_eq!(keys.read_resume(&resume, NOW), Ok(claim.clone()));
        assert_eq!(
            keys.read_resume(&resume, NOW - 3600),
            Ok(claim.clone()),
            "the clock was set back"
        );
        let late = Claim {
            expired: true,
            ..claim
        };
        assert_eq!(
            keys.read_resume(&resume, NOW + RESUME_LIFE_SECONDS + 61),
            Ok(late)
        );
        assert_eq!(keys.read_room(&resume, NOW), Err(TokenError::Bad));
        assert_eq!(
            keys.read_resume(&signed(&keys, &claims()), NOW),
            Err(TokenError::Bad)
        );
    }

    #[test]
    fn the_longest_claims_fit_into_a_resume_token() {
        let keys = keys();
        let mut longest = claims();
        longest["room"] = json!("r".repeat(64));
        longest["site"] = json!("s".repeat(96));
        for sub in [
            "\"".repeat(SUBJECT_BYTES_MAX),
            "\u{1F3DB}".repeat(SUBJECT_BYTES_MAX / 4),
        ] {
            longest["sub"] = json!(sub);
            let RoomToken { room, person, .. } = keys.read_room(&signed(&keys, &longest), NOW).expect("good");
            for name in ["\\".repeat(64), "\u{1F3DB}".repeat(64)] {
                let claim = Claim {
                    room: room.clone(),
                    seat: SeatId::try_from("f".repeat(32)).expect("a seat"),
                    number: PointNumber::try_from((1 << 30) - 1).expect("a number"),
                    subject: person.subject.clone(),
                    name: DisplayName::try_from(name).expect("a name"),
                    site: person.site.clone(),
                    role: Role::Secretary,
                    expired: false,
                };
                assert_eq!(keys.read_resume(&keys.sign_resume(&claim, NOW), NOW), Ok(claim));
            }
        }
    }
}
