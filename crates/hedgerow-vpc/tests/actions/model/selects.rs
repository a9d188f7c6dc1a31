//! Filters: each one selects what has its value and excludes what has not.

use std::collections::BTreeSet;

use super::{differences, facts, instances, selects_network, world};

/// A describing action and a pair of the [`world`].
pub struct Select {
    /// The request without filters.
    pub request: &'static str,
    /// The element of the answer that names a record.
    pub element: &'static str,
    /// A record that is asked for, and one that is not.
    pub pair: (&'static str, &'static str),
    /// Filters with a value that only the first one has.
    pub apart: &'static [(&'static str, &'static str)],
    /// Filters with a value that both have.
    pub alike: &'static [(&'static str, &'static str)],
    /// Filters for which nothing here has a value.
    pub nothing: &'static [&'static str],
}

/// The first ones of all pairs have this tag.
const TAGS: &[(&str, &str)] = &[("tag:KEY", "one"), ("tag-key", "world")];

impl Select {
    fn action(&self) -> &'static str {
        self.request.split_whitespace().next().expect("an action")
    }

    /// The records that the filter finds.
    fn found(&self, filter: &str, value: &str) -> BTreeSet<String> {
        let filter = filter.replace("KEY", "world");
        let request = format!("{} Filter.1.Name={filter} Filter.1.Value.1={value}", self.request);
        world::world().ok(&request).all(self.element).into_iter().collect()
    }

    /// A value that the first one of the pair has and, if `apart`, the other one has not.
    fn check(&self, filter: &str, value: &str, apart: bool) {
        let what = format!("{} {filter}={value}", self.request);
        let world = world::world();
        let (one, other) = (world.fill(self.pair.0), world.fill(self.pair.1));
        let found = self.found(filter, value);
        assert!(found.contains(&one), "{what} does not find {one}");
        assert_eq!(!found.contains(&other), apart, "{what} and {other}");
        assert_eq!(self.found(filter, "no-such-value"), BTreeSet::new(), "{what}");
        let mut pattern = world.fill(value);
        pattern.pop();
        for wild in ["?", "*"] {
            let found = self.found(filter, &format!("{pattern}{wild}"));
            assert!(found.contains(&one), "{what} as {pattern}{wild} does not find {one}");
        }
    }
}

fn all() -> impl Iterator<Item = &'static Select> {
    selects_network::SELECTS.iter().chain(instances::SELECTS)
}

#[test]
fn every_filter_is_tried() {
    let (differences, mut missing) = (differences(), Vec::new());
    for (action, facts) in facts() {
        let tried: BTreeSet<&str> = all()
            .filter(|select| select.action() == action)
            .flat_map(|select| {
                let apart = select.apart.iter().chain(select.alike).map(|(name, _)| *name);
                apart.chain(select.nothing.iter().copied())
            })
            .chain(TAGS.iter().map(|(name, _)| *name))
            .collect();
        let of_tags = facts.filters.contains(&"tag:KEY");
        assert!(!of_tags || all().any(|select| select.action() == action), "no pair for {action}");
        missing.extend(facts.filters.iter().filter(|name| !tried.contains(*name)).filter_map(
            |name| {
                let on_purpose =
                    differences.iter().any(|d| d.covers(action, &format!("filter:{name}")));
                (!on_purpose).then(|| format!("{action} {name}"))
            },
        ));
    }
    assert!(missing.is_empty(), "no value is tried for:\n{}", missing.join("\n"));
}

#[test]
fn filters_select_and_exclude() {
    let facts = facts();
    for select in all() {
        let of_tags = &facts[select.action()].filters;
        let tags = TAGS.iter().filter(|(name, _)| of_tags.contains(name));
        for (filter, value) in select.apart.iter().chain(tags) {
            select.check(filter, value, true);
        }
        for (filter, value) in select.alike {
            select.check(filter, value, false);
        }
        for filter in select.nothing {
            assert_eq!(select.found(filter, "*"), BTreeSet::new(), "{} {filter}", select.request);
        }
    }
}
