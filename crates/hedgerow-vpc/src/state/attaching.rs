//! Attachments that hang: EC2 answers AttachNetworkInterface at once, and until the interface is
//! there the attachment is `attaching`. Here they are `attached` at once unless the weather holds
//! them; a held one has no packets. What waits is settled in time, and so is what drains of NAT
//! gateways.

use super::interface::Attached;
use super::time::Timestamp;
use super::{Region, State};
use crate::effect::Effect;
use crate::journal;

impl Attached {
    /// EC2's name of the attachment's state.
    pub(crate) fn status(&self) -> &'static str {
        if self.attaching { "attaching" } else { "attached" }
    }
}

impl Region {
    /// Ends the waiting of attachments whose time has come.
    fn settle(&mut self, now: Timestamp) -> Vec<Effect> {
        let due = self.attaching.iter().filter(|(_, until)| **until <= now);
        let due: Vec<String> = due.map(|(id, _)| id.clone()).collect();
        let mut effects = Vec::new();
        for id in &due {
            self.attaching.remove(id);
            if self.mark(id, false).is_some() {
                effects.push(self.put_interface(&self.attachments[id]));
            }
        }
        effects
    }

    /// Sets whether the attachment waits; `None` where it was ended meanwhile.
    fn mark(&mut self, attachment: &str, attaching: bool) -> Option<()> {
        let interface = self.interfaces.get_mut(self.attachments.get(attachment)?)?;
        interface.attachment.as_mut()?.attaching = attaching;
        Some(())
    }
}

impl State {
    /// Holds the attachment that an answer of AttachNetworkInterface names: it is `attaching` for
    /// so many seconds. Gives the effects that take the place of the answer's.
    pub(crate) fn hold_attachment(
        &mut self,
        region: &str,
        answer: &str,
        now: Timestamp,
        seconds: u64,
    ) -> Option<Vec<Effect>> {
        let region = self.regions.get_mut(region)?;
        let id = answer.split_once("<attachmentId>")?.1.split_once('<')?.0;
        region.mark(id, true)?;
        region.attaching.insert(id.to_owned(), Timestamp(now.0 + seconds));
        let effects = vec![region.put_interface(&region.attachments[id])];
        let body = format!("{seconds} {answer}").into_bytes();
        let region = region.name.clone();
        self.note_change(journal::Kind::Hold, now, region, body);
        Some(effects)
    }

    /// When attachments that are `attaching` will be attached, and addresses of NAT gateways that
    /// drain released.
    pub(crate) fn waits_until(&self) -> Vec<Timestamp> {
        let attaching = self.regions.values().flat_map(|region| region.attaching.values().copied());
        attaching.chain(self.regions.values().flat_map(Region::draining_until)).collect()
    }

    /// Attaches what was `attaching`, and releases addresses of NAT gateways that drained, where the
    /// time has come.
    pub fn settle(&mut self, now: Timestamp) -> Vec<Effect> {
        let settled = |region: &mut Region| [region.settle(now), region.end_drains(now)].concat();
        let effects: Vec<Effect> = self.regions.values_mut().flat_map(settled).collect();
        if !effects.is_empty() {
            self.note_change(journal::Kind::Settle, now, String::new(), Vec::new());
        }
        effects
    }
}
