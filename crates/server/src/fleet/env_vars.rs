//! Environment variables: constants that a device group gives to the code that is deployed to it.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use super::text::{self, Invalid};

/// The most bytes of all of a group's variables together, as JSON.
pub const ENV_VARS_BYTES: usize = 16 * 1024;

/// The longest value that is a text, characters.
const TEXT_CHARS: usize = ENV_VARS_BYTES;

/// A group's variables: checked names with texts and numbers that the language has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EnvVars(BTreeMap<String, EnvVar>);

/// The value of one variable.
#[derive(Clone, Debug, PartialEq)]
pub enum EnvVar {
    /// A text without control characters but line breaks and tabs.
    Text(String),
    /// A whole number of the language.
    Whole(i32),
    /// Another number.
    Real(f64),
}

impl EnvVars {
    /// Takes what a person set.
    ///
    /// # Errors
    /// The first rule that is broken: a name is a letter and then letters and digits, at most 80; a value is a text or a number, a whole one
    /// of 32 bits; all of them together have at most [`ENV_VARS_BYTES`] bytes.
    pub fn new(sent: &Map<String, Value>) -> Result<Self, Invalid> {
        let vars = sent.iter().map(|(name, value)| Ok((checked_name(name)?, checked(name, value)?)));
        let vars = Self(vars.collect::<Result<_, Invalid>>()?);
        if vars.to_json().len() > ENV_VARS_BYTES {
            return Err(Invalid(format!("the environment variables have at most {ENV_VARS_BYTES} bytes together")));
        }
        Ok(vars)
    }

    /// The variables, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &EnvVar)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// As they are shown and kept.
    pub fn to_map(&self) -> Map<String, Value> {
        let value = |value: &EnvVar| match value {
            EnvVar::Text(text) => Value::String(text.clone()),
            EnvVar::Whole(whole) => Value::Number((*whole).into()),
            EnvVar::Real(real) => Number::from_f64(*real).map_or(Value::Null, Value::Number),
        };
        self.0.iter().map(|(name, found)| (name.clone(), value(found))).collect()
    }

    /// One JSON object.
    pub fn to_json(&self) -> String {
        Value::Object(self.to_map()).to_string()
    }

    /// What [`Self::to_json`] made.
    pub fn from_json(text: &str) -> Option<Self> {
        Self::new(serde_json::from_str::<Value>(text).ok()?.as_object()?).ok()
    }
}

fn checked_name(name: &str) -> Result<String, Invalid> {
    let fits = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric())
        && name.len() <= text::NAME_CHARS;
    if fits {
        return Ok(name.to_owned());
    }
    let most = text::NAME_CHARS;
    Err(Invalid(format!(
        "an environment variable's name has 1 to {most} letters and digits and begins with a letter: {name:.80}"
    )))
}

fn checked(name: &str, value: &Value) -> Result<EnvVar, Invalid> {
    match value {
        Value::String(found) => {
            text::line(&format!("the environment variable {name}"), found, TEXT_CHARS)?;
            Ok(EnvVar::Text(found.clone()))
        }
        Value::Number(number) if number.is_f64() => {
            let real = number.as_f64().filter(|real| (*real as f32).is_finite());
            real.map(EnvVar::Real).ok_or_else(|| Invalid(format!("{name}: a number has 32 bits")))
        }
        Value::Number(number) => {
            let whole = number.as_i64().and_then(|whole| i32::try_from(whole).ok());
            whole.map(EnvVar::Whole).ok_or_else(|| Invalid(format!("{name}: a whole number has 32 bits")))
        }
        _ => Err(Invalid(format!("the environment variable {name} is a text or a number"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(value: Value) -> Result<EnvVars, Invalid> {
        EnvVars::new(value.as_object().expect("an object"))
    }

    #[test]
    fn names_are_letters_and_digits_and_values_texts_and_numbers() {
        let vars = of(json!({"url": "https://a", "n": -5, "x2": 1.5})).expect("three variables");
        assert_eq!(EnvVars::from_json(&vars.to_json()), Some(vars));
        for wrong in [
            json!({"": 1}),
            json!({"2x": 1}),
            json!({"a-b": 1}),
            json!({"a b": 1}),
            json!({"a": true}),
            json!({"a": null}),
            json!({"a": ["b"]}),
            json!({"a": 2_147_483_648_i64}),
            json!({"a": 1e39}),
            json!({"a": "b\u{0}"}),
        ] {
            assert!(of(wrong.clone()).is_err(), "{wrong}");
        }
        assert!(of(json!({"a": i32::MIN, "b": i32::MAX})).is_ok());
    }

    #[test]
    fn all_of_them_have_sixteen_kibibytes_and_not_one_byte_more() {
        let frame = json!({"a": ""}).to_string().len();
        assert!(of(json!({"a": "x".repeat(ENV_VARS_BYTES - frame)})).is_ok());
        assert!(of(json!({"a": "x".repeat(ENV_VARS_BYTES - frame + 1)})).is_err());
    }
}
