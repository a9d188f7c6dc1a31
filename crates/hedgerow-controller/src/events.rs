//! Events on pods and nodes, under the reasons that EKS users look for.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};

/// The longest note that the API accepts (events.k8s.io/v1).
const MAX_NOTE: usize = 1024;

/// Publishes events. A failure is logged, never an error: events are for people.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl Events {
    /// Reports as `hedgerow-controller`.
    pub fn new(client: Client) -> Self {
        Self { recorder: Recorder::new(client, Reporter::from("hedgerow-controller")) }
    }

    /// Something went as it should.
    pub async fn normal<K: Resource<DynamicType = ()>>(&self, on: &K, reason: &str, note: String) {
        self.publish(on.object_ref(&()), EventType::Normal, reason, note).await;
    }

    /// Something needs a person.
    pub async fn warning<K: Resource<DynamicType = ()>>(&self, on: &K, reason: &str, note: String) {
        self.publish(on.object_ref(&()), EventType::Warning, reason, note).await;
    }

    async fn publish(&self, on: ObjectReference, kind: EventType, reason: &str, note: String) {
        let event = Event {
            type_: kind,
            reason: reason.to_owned(),
            note: Some(truncated(note)),
            action: reason.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &on).await {
            tracing::warn!(reason, on = on.name, %error, "event not published");
        }
    }
}

fn truncated(mut note: String) -> String {
    if note.len() > MAX_NOTE {
        let end = (0..=MAX_NOTE - 3).rev().find(|i| note.is_char_boundary(*i)).unwrap_or(0);
        note.truncate(end);
        note.push('…');
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_notes_are_cut_at_a_character() {
        assert_eq!(truncated("short".into()), "short");
        let cut = truncated("é".repeat(600));
        assert!(cut.len() <= MAX_NOTE && cut.ends_with('…'));
    }
}
