//! A serde deserializer over a parameter tree.
//!
//! Structures come from children by name, lists from children `1`, `2`, … in number order, scalars
//! from the value. Errors name the parameter as the client wrote it (`Filter.1.Name`).

use std::fmt::Display;
use std::str::FromStr;

use serde::de::value::{StrDeserializer, StringDeserializer};
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};

use super::params::Node;

/// What a request's parameters get wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// No such parameter.
    #[error("The parameter {0} is not recognized")]
    Unknown(String),
    /// A required parameter is absent.
    #[error("The request must contain the parameter {0}")]
    Missing(String),
    /// A value is not of the parameter's type.
    #[error("Value ({value}) for parameter {name} is invalid. {why}")]
    Invalid {
        /// Full name.
        name: String,
        /// The text that was given.
        value: String,
        /// What was expected.
        why: String,
    },
}

impl de::Error for QueryError {
    fn custom<T: Display>(message: T) -> Self {
        QueryError::Invalid { name: String::new(), value: String::new(), why: message.to_string() }
    }

    fn unknown_field(field: &str, _expected: &'static [&'static str]) -> Self {
        QueryError::Unknown(field.to_owned())
    }

    fn missing_field(field: &'static str) -> Self {
        QueryError::Missing(field.to_owned())
    }
}

/// Reads a request structure from its parameters.
pub fn from_node<T: DeserializeOwned>(node: &Node) -> Result<T, QueryError> {
    T::deserialize(Deserializer { node, name: String::new() })
}

struct Deserializer<'a> {
    node: &'a Node,
    /// Full name of the node, empty at the root.
    name: String,
}

impl<'a> Deserializer<'a> {
    fn child(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn invalid(&self, why: impl Display) -> QueryError {
        QueryError::Invalid {
            name: self.name.clone(),
            value: self.node.value.clone().unwrap_or_default(),
            why: why.to_string(),
        }
    }

    fn text(&self) -> Result<&'a str, QueryError> {
        match (&self.node.value, self.node.children.keys().next()) {
            (Some(value), None) => Ok(value),
            (_, Some(key)) => Err(QueryError::Unknown(self.child(key))),
            (None, None) => Err(QueryError::Missing(self.name.clone())),
        }
    }

    fn number<T: FromStr>(&self) -> Result<T, QueryError> {
        self.text()?.trim().parse().map_err(|_| self.invalid("Expected an integer in range."))
    }

    /// A visitor's own complaint knows neither the name nor the value: say them.
    fn locate(&self, error: QueryError) -> QueryError {
        match error {
            QueryError::Invalid { name, why, .. } if name.is_empty() => self.invalid(why),
            other => other,
        }
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident,)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
            visitor.$visit(self.number()?)
        })*
    };
}

/// A boolean, in capitals or not, as Python writes it.
pub fn boolean(text: &str) -> Option<bool> {
    let is = |word: &str| text.eq_ignore_ascii_case(word);
    match (is("true"), is("false")) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }
}

impl<'de> de::Deserializer<'de> for Deserializer<'_> {
    type Error = QueryError;

    numbers! {
        deserialize_i8 visit_i8,
        deserialize_i16 visit_i16,
        deserialize_i32 visit_i32,
        deserialize_i64 visit_i64,
        deserialize_u8 visit_u8,
        deserialize_u16 visit_u16,
        deserialize_u32 visit_u32,
        deserialize_u64 visit_u64,
        deserialize_f32 visit_f32,
        deserialize_f64 visit_f64,
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        match boolean(self.text()?) {
            Some(value) => visitor.visit_bool(value),
            None => Err(self.invalid("Expected true or false.")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        visitor.visit_str(self.text()?).map_err(|e| self.locate(e))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, QueryError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        visitor.visit_unit()
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        let mut items = Vec::with_capacity(self.node.children.len());
        for (key, node) in &self.node.children {
            match key.parse::<u32>() {
                Ok(index) => items.push((index, key.as_str(), node)),
                Err(_) => return Err(QueryError::Unknown(self.child(key))),
            }
        }
        // "Name=" is how the query protocol writes an empty list; any other text is a mistake.
        if self.node.value.as_deref().is_some_and(|text| !text.is_empty()) {
            return Err(self.invalid("Expected a list: append '.1' to the name."));
        }
        items.sort_by_key(|(index, _, _)| *index);
        visitor
            .visit_seq(Items { parent: &self, items: items.into_iter() })
            .map_err(|e| self.locate(e))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, QueryError> {
        if self.node.value.is_some() {
            return Err(self.invalid("Expected a structure."));
        }
        let fields = Fields { parent: &self, children: self.node.children.iter(), next: None };
        visitor.visit_map(fields).map_err(|e| match self.locate(e) {
            // The derived visitor knows the field's own name only; what was raised further down is
            // complete already and carries dots.
            QueryError::Missing(field) if !field.contains('.') => {
                QueryError::Missing(self.child(&field))
            }
            other => other,
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, QueryError> {
        let text: StrDeserializer<'_, QueryError> = self.text()?.into_deserializer();
        visitor.visit_enum(text).map_err(|e| self.locate(e))
    }

    serde::forward_to_deserialize_any! {
        char bytes byte_buf unit unit_struct tuple tuple_struct map identifier
    }
}

struct Items<'p, 'a> {
    parent: &'p Deserializer<'a>,
    items: std::vec::IntoIter<(u32, &'a str, &'a Node)>,
}

impl<'de> de::SeqAccess<'de> for Items<'_, '_> {
    type Error = QueryError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, QueryError> {
        let Some((_, key, node)) = self.items.next() else { return Ok(None) };
        seed.deserialize(Deserializer { node, name: self.parent.child(key) }).map(Some)
    }
}

struct Fields<'p, 'a> {
    parent: &'p Deserializer<'a>,
    children: std::collections::btree_map::Iter<'a, String, Node>,
    next: Option<(&'a str, &'a Node)>,
}

impl<'de> de::MapAccess<'de> for Fields<'_, '_> {
    type Error = QueryError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, QueryError> {
        let Some((key, node)) = self.children.next() else { return Ok(None) };
        self.next = Some((key, node));
        let text: StringDeserializer<QueryError> = key.clone().into_deserializer();
        seed.deserialize(text).map(Some).map_err(|error| match error {
            QueryError::Unknown(field) => QueryError::Unknown(self.parent.child(&field)),
            other => other,
        })
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, QueryError> {
        let (key, node) = self.next.take().expect("serde asks for a key before its value");
        seed.deserialize(Deserializer { node, name: self.parent.child(key) })
    }
}
