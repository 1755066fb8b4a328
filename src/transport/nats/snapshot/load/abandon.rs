//! A restore that does not come to its end is taken back, as far as the server lets us.

use bytes::Bytes;

use super::{CLUSTER_SETTLES, Load, Stage, mark};
use crate::transport::nats::snapshot::{About, Session, SnapshotError};

/// What there is on the server after a restore that did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// Part of it, or its name: what to do about it.
    Part(String),
    /// The stream, or nobody knows.
    There(String),
}

impl Load {
    /// Takes back what there is of it, after it went wrong or, without a `failure`, because somebody wants it to stop.
    pub async fn abandon(mut self, session: &mut Session, failure: bool) -> Left {
        session.forget_events();
        match &self.stage {
            Stage::Idle => return Left::Nothing,
            Stage::Asked | Stage::Refused => {}
            Stage::Begun(subject) => {
                // Servers end a restore at a piece that they cannot answer. Otherwise they wait for more, and what they
                // do when the time is over may hit who restores it again.
                let _ = session.client.publish(subject.clone(), Bytes::new()).await;
            }
            // To delete now what they make would leave a stream that no server answers for.
            Stage::Finishing if failure => return self.unknown(session).await,
            Stage::Finishing => match self.made(session).await {
                Ok(_) => return self.discarded(session).await,
                Err(SnapshotError::Refused { .. }) => {}
                Err(_) => return self.unknown(session).await,
            },
            Stage::Made if self.mark.is_none() => return self.discarded(session).await,
            Stage::Made => {}
        }
        self.left(session).await
    }

    /// What is left of it that has no answer to come; that is deleted if it is ours.
    async fn left(&self, session: &mut Session) -> Left {
        let Self { stream, mark: own, stage, .. } = self;
        match session.about(stream).await {
            Ok(Some(about)) if own.is_some() && mark(&about.config) == own.as_deref() => self.discarded(session).await,
            Ok(Some(about)) => Left::There(self.there(&about)),
            // The name is ours since the server has agreed, and nobody may answer for it.
            Ok(None) | Err(SnapshotError::Silent { .. })
                if session.is_clustered() && matches!(stage, Stage::Begun(_) | Stage::Refused) =>
            {
                self.discarded(session).await
            }
            Ok(None) if session.is_clustered() && matches!(stage, Stage::Made) => self.discarded(session).await,
            Err(error) if matches!(stage, Stage::Made) => Left::There(format!(
                "stream {stream} was put together, and is not seen now ({error}): look at it before you restore it again"
            )),
            Ok(None) if session.is_clustered() => Left::Part(format!(
                "the server has not said whether it begins: if stream {stream} cannot be restored then, give \
                 --discard-unfinished"
            )),
            Ok(None) => Left::Nothing,
            Err(error) => self.part(&error),
        }
    }

    /// The server puts it together, and its answer will not reach us.
    async fn unknown(&self, session: &mut Session) -> Left {
        let (stream, own) = (&self.stream, self.mark.as_deref());
        match session.about_patiently(stream).await {
            Ok(Some(about)) if own.is_none() || mark(&about.config) != own => Left::There(self.there(&about)),
            Ok(Some(_)) => Left::Part(format!(
                "stream {stream} is there in part: when no restore of it is under way any more, restore it again with \
                 --discard-unfinished"
            )),
            _ => Left::There(format!(
                "the server had all of stream {stream} and may still put it together: it may appear later; look at it \
                 before you restore it again"
            )),
        }
    }

    async fn discarded(&self, session: &mut Session) -> Left {
        match discard(session, &self.stream).await {
            Ok(()) => Left::Nothing,
            Err(error) => self.part(&error),
        }
    }

    fn part(&self, error: &SnapshotError) -> Left {
        let stream = &self.stream;
        Left::Part(format!(
            "part of stream {stream}, or its name, may be left ({error}): restore it again with --discard-unfinished"
        ))
    }

    fn there(&self, about: &About) -> String {
        let (stream, messages) = (&self.stream, about.state.messages);
        format!(
            "stream {stream} is there now, with {messages} messages: restored, or made by somebody else; look at it"
        )
    }
}

/// Deletes what a restore has left that was broken off, if there is something: in a cluster that may be a name alone.
///
/// # Errors
/// [`SnapshotError`]
pub async fn discard(session: &mut Session, stream: &str) -> Result<(), SnapshotError> {
    session.delete(stream).await
}

/// Waits until a cluster has forgotten a restore that was discarded: until then it deletes whatever has its name.
pub async fn forgotten() {
    tokio::time::sleep(CLUSTER_SETTLES).await;
}
