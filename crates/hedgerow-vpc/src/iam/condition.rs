//! Condition operators (IAM User Guide, "IAM JSON policy elements: Condition operators").

use super::pattern;

/// How values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Equal,
    EqualIgnoreCase,
    Like,
    Arn,
    Bool,
    /// Numbers: which orders of the request's value to the document's fit.
    Number {
        less: bool,
        equal: bool,
        greater: bool,
    },
}

/// How the values of a key with several are taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    /// Keys with one value.
    Single,
    /// `ForAllValues:`.
    All,
    /// `ForAnyValue:`.
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Test {
    /// `Null`: `true` asks for the key's absence.
    Null,
    Values {
        compare: Compare,
        not: bool,
        set: Set,
        if_exists: bool,
    },
}

/// One operator on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    test: Test,
    key: String,
    values: Vec<String>,
}

/// Every operator's name, what it compares and whether it asks for the opposite.
const OPERATORS: &[(&str, Compare, bool)] = &[
    ("StringEquals", Compare::Equal, false),
    ("StringNotEquals", Compare::Equal, true),
    ("StringEqualsIgnoreCase", Compare::EqualIgnoreCase, false),
    ("StringNotEqualsIgnoreCase", Compare::EqualIgnoreCase, true),
    ("StringLike", Compare::Like, false),
    ("StringNotLike", Compare::Like, true),
    ("ArnEquals", Compare::Arn, false),
    ("ArnLike", Compare::Arn, false),
    ("ArnNotEquals", Compare::Arn, true),
    ("ArnNotLike", Compare::Arn, true),
    ("Bool", Compare::Bool, false),
    ("NumericEquals", number(false, true, false), false),
    ("NumericNotEquals", number(false, true, false), true),
    ("NumericLessThan", number(true, false, false), false),
    ("NumericLessThanEquals", number(true, true, false), false),
    ("NumericGreaterThan", number(false, false, true), false),
    ("NumericGreaterThanEquals", number(false, true, true), false),
];

const fn number(less: bool, equal: bool, greater: bool) -> Compare {
    Compare::Number { less, equal, greater }
}

impl Condition {
    /// A condition; fails with what is wrong with the operator or a value.
    pub(super) fn new(operator: &str, key: &str, values: Vec<String>) -> Result<Self, String> {
        let (set, name) = match operator.split_once(':') {
            None => (Set::Single, operator),
            Some(("ForAllValues", name)) => (Set::All, name),
            Some(("ForAnyValue", name)) => (Set::Any, name),
            Some((other, _)) => {
                return Err(format!("'{other}' is neither ForAllValues nor ForAnyValue"));
            }
        };
        let (name, if_exists) = match name.strip_suffix("IfExists") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let test = if name == "Null" && set == Set::Single && !if_exists {
            Test::Null
        } else {
            let found = OPERATORS.iter().find(|(known, ..)| *known == name);
            let (_, compare, not) = found.ok_or_else(|| {
                format!("the operator '{operator}' is not known here (dates and addresses are not)")
            })?;
            Test::Values { compare: *compare, not: *not, set, if_exists }
        };
        for value in &values {
            check(test, value)?;
        }
        Ok(Condition { test, key: key.to_owned(), values })
    }

    /// Whether the condition holds where `facts` gives a key's values.
    pub(super) fn holds<'f>(&self, facts: impl Fn(&str) -> Option<&'f [String]>) -> bool {
        let found = facts(&self.key);
        let Test::Values { compare, not, set, if_exists } = self.test else {
            return self.values.iter().any(|v| v.eq_ignore_ascii_case("true") == found.is_none());
        };
        // Several values in the document are alternatives; for the opposite, none may fit.
        let fits = |given: &String| self.values.iter().any(|v| compare.fits(v, given)) != not;
        match (set, found) {
            (_, None) if if_exists => true,
            (Set::Single, None) => not,
            (Set::All, None) => true,
            (Set::Any, None) => false,
            (Set::All, Some(given)) => given.iter().all(fits),
            (Set::Single, Some(given)) if not => given.iter().all(fits),
            (Set::Any | Set::Single, Some(given)) => given.iter().any(fits),
        }
    }
}

fn check(test: Test, value: &str) -> Result<(), String> {
    let boolean = value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false");
    match test {
        Test::Null | Test::Values { compare: Compare::Bool, .. } if !boolean => {
            Err(format!("'{value}': expected true or false"))
        }
        Test::Values { compare: Compare::Number { .. }, .. } if value.parse::<f64>().is_err() => {
            Err(format!("'{value}': expected a number"))
        }
        _ => Ok(()),
    }
}

impl Compare {
    /// Whether the request's value fits the document's.
    fn fits(self, wanted: &str, given: &str) -> bool {
        match self {
            Compare::Equal => pattern::plain(wanted) == given,
            Compare::EqualIgnoreCase => {
                pattern::plain(wanted).to_lowercase() == given.to_lowercase()
            }
            Compare::Like => pattern::wildcard(wanted, given),
            Compare::Arn => pattern::resource(wanted, given),
            Compare::Bool => wanted.eq_ignore_ascii_case(given),
            Compare::Number { less, equal, greater } => {
                let (Ok(wanted), Ok(given)) = (wanted.parse::<f64>(), given.parse::<f64>()) else {
                    return false;
                };
                (less && given < wanted)
                    || (equal && given == wanted)
                    || (greater && given > wanted)
            }
        }
    }
}
