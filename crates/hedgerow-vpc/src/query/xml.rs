//! A serde serializer for EC2's XML: structures are elements by field name, lists are `<item>`s,
//! absent options leave no element.

use std::fmt::{Display, Write};

use serde::ser::{self, Impossible, Serialize};

/// A type that EC2's XML has no form for. A mistake in an answer type, never in a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// The kind of value that cannot be written.
    #[error("EC2's XML has no form for {0}; use a structure, a list or a scalar in the answer")]
    Shape(&'static str),
    /// A value's own complaint.
    #[error("writing an answer: {0}")]
    Value(String),
}

impl ser::Error for XmlError {
    fn custom<T: Display>(message: T) -> Self {
        XmlError::Value(message.to_string())
    }
}

/// Writes the fields of an answer, without an element of its own around them.
pub fn to_string<T: Serialize + ?Sized>(answer: &T) -> Result<String, XmlError> {
    let mut xml = Xml { out: String::new(), absent: false };
    answer.serialize(&mut xml)?;
    Ok(xml.out)
}

/// Appends `text` with markup escaped. Characters that XML 1.0 cannot carry become U+FFFD.
pub fn escape(text: &str, out: &mut String) {
    // Nearly every value is an id, an address or a name of one: copied as it is.
    if text.bytes().all(is_plain) {
        return out.push_str(text);
    }
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            _ if !carries(c) => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
}

/// Whether XML 1.0 can carry the character.
pub fn carries(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r') || !matches!(c, '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

/// Whether the byte is a character that nothing has to be done about.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'&' | b'<' | b'>' | b'"')
}

/// Writes escaped text.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        escape(text, self.0);
        Ok(())
    }
}

struct Xml {
    out: String,
    /// Set when the value just visited was `None`.
    absent: bool,
}

impl Xml {
    fn tag(&mut self, opening: &str, name: &str) {
        self.out.push_str(opening);
        self.out.push_str(name);
        self.out.push('>');
    }

    fn element<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), XmlError> {
        let start = self.out.len();
        self.tag("<", name);
        value.serialize(&mut *self)?;
        if std::mem::take(&mut self.absent) {
            self.out.truncate(start);
        } else {
            self.tag("</", name);
        }
        Ok(())
    }

    fn plain(&mut self, value: impl Display) -> Result<(), XmlError> {
        let _ = write!(self.out, "{value}");
        Ok(())
    }
}

macro_rules! plain {
    ($($method:ident $type:ty,)*) => {
        $(fn $method(self, value: $type) -> Result<(), XmlError> { self.plain(value) })*
    };
}

impl ser::Serializer for &mut Xml {
    type Ok = ();
    type Error = XmlError;
    type SerializeSeq = Self;
    type SerializeTuple = Impossible<(), XmlError>;
    type SerializeTupleStruct = Impossible<(), XmlError>;
    type SerializeTupleVariant = Impossible<(), XmlError>;
    type SerializeMap = Impossible<(), XmlError>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Impossible<(), XmlError>;

    plain! {
        serialize_bool bool,
        serialize_i8 i8,
        serialize_i16 i16,
        serialize_i32 i32,
        serialize_i64 i64,
        serialize_u8 u8,
        serialize_u16 u16,
        serialize_u32 u32,
        serialize_u64 u64,
        serialize_f32 f32,
        serialize_f64 f64,
    }

    fn serialize_char(self, value: char) -> Result<(), XmlError> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), XmlError> {
        escape(value, &mut self.out);
        Ok(())
    }

    fn serialize_bytes(self, _value: &[u8]) -> Result<(), XmlError> {
        Err(XmlError::Shape("bytes"))
    }

    fn serialize_none(self) -> Result<(), XmlError> {
        self.absent = true;
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), XmlError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), XmlError> {
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), XmlError> {
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), XmlError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), XmlError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<(), XmlError> {
        Err(XmlError::Shape("an enum with data"))
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Self, XmlError> {
        Ok(self)
    }

    fn serialize_tuple(self, _len: usize) -> Result<Self::SerializeTuple, XmlError> {
        Err(XmlError::Shape("a tuple"))
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeTupleStruct, XmlError> {
        Err(XmlError::Shape("a tuple"))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeTupleVariant, XmlError> {
        Err(XmlError::Shape("an enum with data"))
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Self::SerializeMap, XmlError> {
        Err(XmlError::Shape("a map"))
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Self, XmlError> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeStructVariant, XmlError> {
        Err(XmlError::Shape("an enum with data"))
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), XmlError> {
        let _ = write!(Escaped(&mut self.out), "{value}");
        Ok(())
    }
}

impl ser::SerializeSeq for &mut Xml {
    type Ok = ();
    type Error = XmlError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), XmlError> {
        self.element("item", value)
    }

    fn end(self) -> Result<(), XmlError> {
        Ok(())
    }
}

impl ser::SerializeStruct for &mut Xml {
    type Ok = ();
    type Error = XmlError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), XmlError> {
        self.element(key, value)
    }

    fn end(self) -> Result<(), XmlError> {
        Ok(())
    }
}
