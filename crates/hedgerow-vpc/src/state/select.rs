//! What every Describe action shares: ids, filters, pages.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::Deserialize;

use super::region::{Region, Resource, find};
use crate::api::error::Ec2Error;
use crate::wildcard::{self, Token};

/// Page sizes that most actions take.
const PAGES: RangeInclusive<usize> = 5..=1000;
/// Most filters of a request ("List and filter using the CLI and API", EC2 User Guide).
const MAX_FILTERS: usize = 50;
/// Most values of all filters of a request together, and the longest one: EC2 says so when it
/// refuses more.
const MAX_VALUES: usize = 200;
const MAX_VALUE: usize = 255;

/// One filter of a request: any of `values` must be a value of the record's field.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Filter {
    pub name: String,
    #[serde(default, rename = "Value")]
    pub values: Vec<String>,
}

/// A filter name and how to read that field of a record; a field may have several values.
pub(crate) type Field<R> = (&'static str, fn(&Region, &R) -> Vec<String>);

/// Which records a Describe request wants.
pub(crate) struct Selection<'a> {
    pub ids: &'a [String],
    pub filters: &'a [Filter],
    pub max_results: Option<usize>,
    pub next_token: Option<&'a str>,
}

/// One page of records, and the token for the next page if there is one.
pub(crate) type Page<'r, R> = (Vec<&'r R>, Option<String>);

/// Declares the request of a Describe action: a list of ids under the given name, filters, pages.
macro_rules! describe_request {
    ($name:ident, $ids:literal $(, $(#[$meta:meta])* $field:ident: $type:ty)* $(,)?) => {
        #[derive(Debug, serde::Deserialize)]
        #[serde(rename_all = "PascalCase", deny_unknown_fields)]
        pub(crate) struct $name {
            #[serde(default, rename = $ids)]
            ids: Vec<String>,
            #[serde(default, rename = "Filter")]
            filters: Vec<crate::state::select::Filter>,
            max_results: Option<usize>,
            next_token: Option<String>,
            $($(#[$meta])* $field: $type,)*
        }

        impl $name {
            fn selection(&self) -> crate::state::select::Selection<'_> {
                crate::state::select::Selection {
                    ids: &self.ids,
                    filters: &self.filters,
                    max_results: self.max_results,
                    next_token: self.next_token.as_deref(),
                }
            }
        }
    };
}
pub(crate) use describe_request;

/// The records that a request wants, in id order.
///
/// # Errors
/// The kind's not-found code for an id, `InvalidParameterValue` for a filter that the kind does not
/// have or a page that cannot be, `InvalidParameterCombination` for ids with `MaxResults`.
pub(crate) fn select<'r, R: Resource>(
    region: &'r Region,
    records: &'r BTreeMap<String, R>,
    fields: &'static [Field<R>],
    wanted: &Selection<'_>,
) -> Result<Page<'r, R>, Ec2Error> {
    select_within(region, records, fields, wanted, PAGES)
}

/// [`select`] where the action has other page sizes than most.
pub(crate) fn select_within<'r, R: Resource>(
    region: &'r Region,
    records: &'r BTreeMap<String, R>,
    fields: &'static [Field<R>],
    wanted: &Selection<'_>,
    sizes: RangeInclusive<usize>,
) -> Result<Page<'r, R>, Ec2Error> {
    // Named records are looked up: there may be a hundred thousand others.
    let named = wanted.ids.iter().map(|id| find(records, id));
    let mut named = named.collect::<Result<Vec<&R>, _>>()?;
    check_filters(wanted.filters, fields)?;
    named.sort_unstable_by_key(|record| record.id());
    named.dedup_by_key(|record| record.id());
    let all = records.values().take(if named.is_empty() { usize::MAX } else { 0 });
    let matching = all
        .chain(named)
        .filter(|record| matches_all(region, *record, record.id(), fields, wanted.filters));
    page_within(matching, |record| record.id(), wanted, sizes)
}

/// Cuts a page out of `records`, which are in the order of their `key`s.
pub(crate) fn page<'r, R>(
    records: impl Iterator<Item = &'r R>,
    key: impl Fn(&'r R) -> &'r str,
    wanted: &Selection<'_>,
) -> Result<Page<'r, R>, Ec2Error> {
    page_within(records, key, wanted, PAGES)
}

/// [`page`] where the action has other page sizes than most.
pub(crate) fn page_within<'r, R>(
    records: impl Iterator<Item = &'r R>,
    key: impl Fn(&'r R) -> &'r str,
    wanted: &Selection<'_>,
    sizes: RangeInclusive<usize>,
) -> Result<Page<'r, R>, Ec2Error> {
    let limit = match wanted.max_results {
        Some(_) if !wanted.ids.is_empty() => {
            let message = "The list of ids cannot be used with the parameter maxResults";
            return Err(Ec2Error::new("InvalidParameterCombination", message));
        }
        Some(n) if !sizes.contains(&n) => {
            let why = format!("Expecting a value from {} to {}.", sizes.start(), sizes.end());
            return Err(Ec2Error::value("maxResults", n, &why));
        }
        Some(n) => n,
        None => usize::MAX,
    };
    let after = wanted.next_token.map(read_token).transpose()?;
    let mut rest = records
        .skip_while(|record| after.as_deref().is_some_and(|after| key(record) <= after))
        .peekable();
    let page: Vec<&R> = rest.by_ref().take(limit).collect();
    let next = match (rest.peek(), page.last()) {
        (Some(_), Some(last)) => Some(write_token(key(last))),
        _ => None,
    };
    Ok((page, next))
}

/// Refuses filters that records with these fields do not have, and more than EC2 takes.
pub(crate) fn check_filters<R>(filters: &[Filter], fields: &[Field<R>]) -> Result<(), Ec2Error> {
    check_sizes(filters)?;
    for Filter { name, values } in filters {
        let known = matches!(name.as_str(), "tag-key" | "tag-value")
            || name.starts_with("tag:")
            || fields.iter().any(|(field, _)| field == name);
        if !known {
            let message = format!("The filter '{name}' is invalid");
            return Err(Ec2Error::new("InvalidParameterValue", message));
        }
        if values.is_empty() {
            let message = format!("The filter '{name}' has no value");
            return Err(Ec2Error::new("InvalidParameterValue", message));
        }
    }
    Ok(())
}

fn check_sizes(filters: &[Filter]) -> Result<(), Ec2Error> {
    let mut values = filters.iter().flat_map(|filter| &filter.values);
    let message = if filters.len() > MAX_FILTERS {
        format!("The maximum number of filters specified on a single call is {MAX_FILTERS}")
    } else if values.clone().count() > MAX_VALUES {
        format!("The maximum number of filter values specified on a single call is {MAX_VALUES}")
    } else if values.any(|value| value.chars().count() > MAX_VALUE) {
        format!("The maximum length for a filter value is {MAX_VALUE} characters")
    } else {
        return Ok(());
    };
    Err(Ec2Error::new("FilterLimitExceeded", message))
}

/// Whether the record passes every filter; the filters were checked.
pub(crate) fn matches_all<R>(
    region: &Region,
    record: &R,
    id: &str,
    fields: &[Field<R>],
    filters: &[Filter],
) -> bool {
    filters.iter().all(|filter| {
        let tags = region.tags.get(id);
        match filter.name.as_str() {
            "tag-key" => tags.is_some_and(|t| t.keys().any(|key| fits(filter, key))),
            "tag-value" => tags.is_some_and(|t| t.values().any(|value| fits(filter, value))),
            name => match name.strip_prefix("tag:") {
                Some(key) => tags.and_then(|t| t.get(key)).is_some_and(|v| fits(filter, v)),
                None => fields.iter().find(|(field, _)| *field == name).is_some_and(|(_, read)| {
                    let values = read(region, record);
                    values.iter().any(|value| fits(filter, value))
                }),
            },
        }
    })
}

/// Whether `text` fits one of the filter's values.
pub(crate) fn fits(filter: &Filter, text: &str) -> bool {
    filter.values.iter().any(|pattern| wildcard(pattern, text))
}

/// Whether `text` fits `pattern`, where `*` is any text, `?` any character and `\` takes the next
/// character as it is. Linear in practice: only the last `*` is ever tried again.
pub(crate) fn wildcard(pattern: &str, text: &str) -> bool {
    wildcard::fits(&tokens(pattern), text)
}

fn tokens(pattern: &str) -> Vec<Token> {
    let mut chars = pattern.chars();
    let mut out = Vec::new();
    while let Some(c) = chars.next() {
        out.push(match c {
            '*' => Token::Any,
            '?' => Token::One,
            '\\' => Token::Char(chars.next().unwrap_or('\\')),
            c => Token::Char(c),
        });
    }
    out
}

/// A page token: the last key in hex, so that nobody takes it for an id.
fn write_token(key: &str) -> String {
    key.bytes().map(|b| format!("{b:02x}")).collect()
}

fn read_token(token: &str) -> Result<String, Ec2Error> {
    let bad = || Ec2Error::value("nextToken", token, "It is not a token that this API gave out.");
    if !token.len().is_multiple_of(2) || !token.is_ascii() {
        return Err(bad());
    }
    let bytes = (0..token.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&token[i..i + 2], 16).map_err(|_| bad()))
        .collect::<Result<Vec<u8>, _>>()?;
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, text, fits) in [
            ("eni-*", "eni-1", true),
            ("*", "", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("?", "ab", false),
            ("a?c", "abc", true),
            (r"a\*", "a*", true),
            (r"a\*", "ab", false),
            ("", "a", false),
        ] {
            assert_eq!(wildcard(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn tokens_survive_and_junk_is_refused() {
        assert_eq!(read_token(&write_token("i-0a")).as_deref(), Ok("i-0a"));
        for junk in ["x", "zz", "ff", "é0"] {
            assert_eq!(read_token(junk).expect_err(junk).code, "InvalidParameterValue");
        }
    }
}
