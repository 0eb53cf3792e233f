//! JSON read strictly: no duplicate key at any level, no deep nesting.
//!
//! `serde_json` keeps the last of two equal keys; two readers that disagree about which one counts have been the way to
//! forge messages elsewhere, so a frame with any is no frame.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Text that is not strict JSON. It says nothing more: the text may hold secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not strict JSON of the expected shape")]
pub struct BadJson;

/// Parses `text`; objects and arrays may stand in each other at most `depth_max` deep.
///
/// # Errors
/// Malformed text, a duplicate key, too deep, a number out of range, or anything after the value.
pub fn parse(text: &str, depth_max: usize) -> Result<Value, BadJson> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Strict {
        depth_left: depth_max,
    }
    .deserialize(&mut reader)
    .map_err(|_| BadJson)?;
    reader.end().map_err(|_| BadJson)?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Strict {
    depth_left: usize,
}

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth_left = self
            .depth_left
            .checked_sub(1)
            .ok_or_else(|| E::custom("too deep"))?;
        Ok(Self { depth_left })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("not finite"))
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(inner)?;
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("duplicate key"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicate_keys_and_depth_are_refused_at_any_level() {
        assert!(parse(r#"{"a":{"b":[1,{"c":null}]}}"#, 4).is_ok());
        assert!(parse(r#"{"a":{"b":[1,{"c":null}]}}"#, 3).is_err());
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"[{"b":{"x":1,"x":2}}]"#,
            r#"{"a":1} x"#,
            "{\"a\":1e400}",
            "NaN",
            "",
        ] {
            assert!(parse(bad, 8).is_err(), "{bad}");
        }
        assert!(parse(&"[".repeat(100_000), 8).is_err());
    }
}
