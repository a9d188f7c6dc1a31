//! Weather and access around the API: what befalls a request before and after it is decided.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures::FutureExt;

use super::{Answer, Server, lock};
use crate::api::{self, Outcome, Terms, envelope::Api, error::Ec2Error};
use crate::iam::Keys;
use crate::settings::{Settings, SettingsError, Store};
use crate::state::State;
use crate::state::principal::Credentials;
use crate::state::time::Timestamp;
use crate::weather::{
    Afterwards, Change, Config, Fate, Load, Millis, Past, Weather, is_describe, shortage,
};

/// Actions after which something waits.
const DRAINING: [&str; 2] = ["DisassociateNatGatewayAddress", "UnassignPrivateNatGatewayAddress"];

/// Who asks, and where.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub region: String,
    pub credentials: Credentials,
}

/// What becomes of a request.
pub(super) enum Reply {
    /// It is answered.
    Answer(Answer),
    /// It was carried out, and the answer gets lost.
    Lost,
    /// The task that answered it failed.
    Failed,
}

/// A call of the API.
pub(super) struct Call<'a> {
    pub region: &'a str,
    pub credentials: &'a Credentials,
    pub body: &'a [u8],
}

/// The weather, and the documents that keys are bound to.
///
/// Locks are taken after the state's.
pub(super) struct Climate {
    start: Instant,
    weather: Mutex<Option<Weather>>,
    /// While describes lag behind.
    past: Mutex<Option<Past>>,
    keys: Mutex<Keys>,
}

impl Climate {
    /// Fair weather, no key bound.
    pub fn new() -> Self {
        let (weather, past, keys) = Default::default();
        Self { start: Instant::now(), weather, past, keys }
    }

    fn millis(&self) -> Millis {
        Millis(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Begins this weather, or ends all weather.
    pub fn set(&self, state: &State, config: Option<Config>) {
        let stale = config.as_ref().and_then(|config| config.stale.as_ref());
        *lock(&self.past) = stale.map(|stale| Past::new(state, stale.ms));
        *lock(&self.weather) = config.map(Weather::new);
    }

    /// The weather now, as it was set.
    pub fn config(&self) -> Option<Config> {
        lock(&self.weather).as_ref().map(|weather| weather.config().as_ref().clone())
    }

    /// The bound keys, to read or change.
    pub fn keys<T>(&self, work: impl FnOnce(&mut Keys) -> T) -> T {
        work(&mut lock(&self.keys))
    }

    /// The fate of a call, and its action's name.
    pub fn meet(&self, region: &str, body: &[u8]) -> (Fate, String) {
        let mut weather = lock(&self.weather);
        let Some(weather) = weather.as_mut() else { return Default::default() };
        let (mut action, mut whole, mut named, mut launched) = (String::new(), true, 0, 0);
        for (name, value) in form_urlencoded::parse(body) {
            match &*name {
                "Action" => action = value.into_owned(),
                "MaxResults" | "NextToken" => whole = false,
                "MaxCount" => launched = value.parse().unwrap_or(1),
                name if name.starts_with("InstanceId.") => {
                    whole = false;
                    named += 1;
                }
                name if name.starts_with("Filter.") || name.contains("Id.") => whole = false,
                _ => {}
            }
        }
        let load = Load { whole, instances: launched.max(named) };
        (weather.meet(region, &action, load, self.millis()), action)
    }

    /// Decides a call on the state, if the key may make it and the weather lets it.
    pub fn decide(
        &self,
        state: &mut State,
        call: &Call<'_>,
        now: Timestamp,
        fate: &Fate,
    ) -> Outcome {
        let settled = state.settle(now);
        let mut outcome = self.decide_settled(state, call, now, fate);
        outcome.effects.splice(0..0, settled);
        outcome
    }

    fn decide_settled(
        &self,
        state: &mut State,
        call: &Call<'_>,
        now: Timestamp,
        fate: &Fate,
    ) -> Outcome {
        let terms = match self.admit(state, call, now) {
            Ok(terms) => terms,
            Err(error) => return refused(call.body, error),
        };
        let Call { region, body, .. } = *call;
        let mut past = lock(&self.past);
        let opened = state.region(region).is_some();
        if let Some(past) = past.as_mut().filter(|_| fate.stale && opened) {
            let state = past.at(self.millis(), now);
            if state.region(region).is_some() {
                return api::answer_on(terms, state, region, body, now);
            }
        }
        let mint = state.mint_position();
        let room = terms.room;
        let mut outcome = api::answer_on(terms, state, region, body, now);
        let mut attaching = None;
        if let (Some(seconds), Ok(answer)) = (fate.attaching, &outcome.result)
            && let Some(effects) = state.hold_attachment(region, answer, now, seconds)
        {
            outcome.effects = effects;
            attaching = Some(seconds);
        }
        if let Some(past) = past.as_mut().filter(|_| !(opened && is_describe(&outcome.action))) {
            let (region, body) = (region.to_owned(), body.to_vec());
            past.note(self.millis(), Change { region, body, now, mint, attaching, room });
        }
        outcome
    }

    /// On which terms a call is answered; refuses who is nobody, what they may not do, and launches
    /// that find no room.
    fn admit(&self, state: &State, call: &Call<'_>, now: Timestamp) -> Result<Terms, Ec2Error> {
        let caller = call.credentials.principal(state, now).map_err(|why| {
            let api = api::asked(call.body).map_or(Api::Ec2, |action| action.api);
            why.error(api)
        })?;
        let key = call.credentials.key.as_deref();
        lock(&self.keys).check(state, (&caller, key), call.region, call.body)?;
        let weather = lock(&self.weather);
        let room = match (weather.as_ref(), state.region(call.region)) {
            (Some(weather), Some(region)) => {
                shortage(&weather.config().capacity, region, call.body)?
            }
            _ => None,
        };
        Ok(Terms { caller, room })
    }

    /// A change of the state was taken back: the past must not come to it.
    pub fn taken_back(&self, state: &State) {
        if let Some(past) = lock(&self.past).as_mut() {
            past.restart(state);
        }
    }
}

impl Server {
    /// Begins this weather, or ends all weather with `None`. Calls are counted from now on.
    pub fn set_weather(&self, config: Option<Config>) {
        let state = self.state();
        self.climate.set(&state, config);
    }

    /// Binds these access keys to policies, in place of all that were bound.
    pub fn set_keys(&self, keys: Keys) {
        self.climate.keys(|present| *present = keys);
    }

    /// From now on, what the admin sets is kept here, and session tokens are signed with its secret.
    /// Called once.
    pub fn keep_settings(&self, store: Store) {
        self.tokens.sign_with(store.secret().clone());
        let _once = self.settings.set(Arc::new(store));
    }

    /// Changes what the admin set: first where it is kept, then here. `change` says whether the
    /// weather is new.
    pub(super) async fn administer<E>(
        &self,
        change: impl FnOnce(&mut Settings) -> Result<bool, E>,
    ) -> Result<Result<(), E>, SettingsError> {
        let _one_at_a_time = self.admin.lock().await;
        let (keys, weather) = (self.climate.keys(|keys| keys.clone()), self.climate.config());
        let mut settings = Settings { keys, weather };
        let new_weather = match change(&mut settings) {
            Ok(new_weather) => new_weather,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(store) = self.settings.get().cloned() {
            let kept = settings.clone();
            let saved = tokio::task::spawn_blocking(move || store.save(&kept)).await;
            saved.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        }
        self.set_keys(settings.keys);
        if new_weather {
            self.set_weather(settings.weather);
        }
        Ok(Ok(()))
    }

    /// Answers a request to its end even if the client goes away, so that nothing is left half
    /// done. Most requests wait for nothing and are answered here and now; what must wait does so
    /// in a task of its own, which costs waking another thread.
    pub(super) async fn ask_as(self: &Arc<Self>, caller: Caller, body: Bytes) -> Reply {
        let work = AssertUnwindSafe(Arc::clone(self).weathered(caller, body)).catch_unwind();
        let mut work = Box::pin(work);
        match futures::poll!(&mut work) {
            Poll::Ready(reply) => reply.unwrap_or(Reply::Failed),
            Poll::Pending => match tokio::spawn(work).await {
                Ok(Ok(reply)) => reply,
                _ => Reply::Failed,
            },
        }
    }

    /// Answers a call in the present weather.
    async fn weathered(self: Arc<Self>, caller: Caller, body: Bytes) -> Reply {
        let (mut fate, action) = self.climate.meet(&caller.region, &body);
        if !fate.delay.is_zero() {
            tokio::time::sleep(fate.delay).await;
        }
        let known = api::find(&action);
        let refusal = |error: Ec2Error, status: Option<u16>| {
            let api = known.map_or(Api::Ec2, |action| action.api);
            let request = self.request_id();
            let body = api.error(&error, &request);
            Reply::Answer(Answer { status: status.unwrap_or(error.status()), body, request })
        };
        if let Some((error, status)) = fate.refusal.take() {
            self.metrics.count(&action, error.code);
            self.metrics.count_principal(&action, caller.credentials.key.as_deref());
            return refusal(error, status);
        }
        let answer = Arc::clone(&self).answer(caller, body, &fate).await;
        if fate.attaching.is_some() || DRAINING.contains(&action.as_str()) {
            self.settle_later();
        }
        match fate.afterwards {
            None => Reply::Answer(answer),
            Some(Afterwards::Silence) => Reply::Lost,
            Some(Afterwards::Error(error, status)) => refusal(error, status),
        }
    }

    /// Settles in time what waits now.
    pub(super) fn settle_later(self: &Arc<Self>) {
        for until in self.state().waits_until() {
            let wait = Duration::from_secs(until.since(super::now()));
            tokio::spawn(Arc::clone(self).settle_after(wait));
        }
    }

    /// Settles what has waited long enough by then.
    async fn settle_after(self: Arc<Self>, wait: Duration) {
        tokio::time::sleep(wait).await;
        let done = self.transact(true, |state, now| ((), state.settle(now))).await;
        if let Err(((), error)) = done {
            tracing::error!(error, "settle what has waited long enough");
        }
    }
}

/// The outcome of a call that was not looked at further.
fn refused(body: &[u8], error: Ec2Error) -> Outcome {
    let action = form_urlencoded::parse(body).find(|(name, _)| name == "Action");
    let action = action.map(|(_, value)| value.into_owned()).unwrap_or_default();
    Outcome {
        api: api::find(&action).map_or(Api::Ec2, |action| action.api),
        action,
        result: Err(error),
        effects: Vec::new(),
        remembered: None,
    }
}
