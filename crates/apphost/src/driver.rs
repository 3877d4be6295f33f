//! How a host drives an [`App`](crate::App): no code, the contract in one place.
//!
//! ```text
//! code = Code::from_image(image, End::Device or End::Agent)          // once per deployment
//! app = App::new(&code, side, limits, wake reason, now)
//! loop {
//!     turn = app.run(now)                            // one slice of one event, at most
//!     while let Some(output) = app.poll_output() {   // after every run and every input
//!         Log                 -> keep or send the line, with the time of now
//!         Send                -> hand to the session; answer Input::Sent(Ok) once it is queued there, or handled where that is wanted;
//!                                Err(NotConnected), Err(Disconnected), Err(NotHandled) or, after its time, Err(TimedOut) otherwise
//!         Handled             -> tell the sender of that message
//!         Flush               -> Input::Flushed once everything is sent, or acknowledged; the same errors
//!         Connect, Disconnect -> see to it that there is a session, or none; Input::Unreached after each try that failed
//!         Save                -> store durably, then Input::Saved(Ok) or Err(why)
//!         SaveUserConfiguration -> keep, then Input::Saved(Ok) or Err(why); hand it to the next App of this device
//!         HttpRequest         -> make it within its time, then Input::HttpAnswer; HttpCancel gives it up
//!         HttpResponse        -> answer that request
//!         Failed              -> the app is over: drop it, wait RestartDelay::failed(), start a new one with its `wake`
//!         RestartRequested    -> the app is over: drop it, start a new one (WakeReason::Restart)
//!         Sleep               -> the app is over: drop it, close the session unless it waits for one, start a new one later with its `nv`
//!     }
//!     match turn {
//!         More    -> let others have a turn, then run again
//!         Idle    -> sleep until app.poll_timeout() or the next input
//!         Waiting -> sleep until app.poll_timeout() (now, once the answer was given) or the answer (Sent, Flushed, Saved, HttpAnswer) or the next input
//!         Ended   -> Failed or RestartRequested was given
//!     }
//! }
//! ```
//!
//! `input` refuses when the app's queue is full: hold the input until `run` has made room (`App::has_room`). Answers (`Sent`, `Flushed`, `Saved`,
//! `HttpAnswer`) and news of the session (`Connected`, `Disconnected`, `Unreached`) are never refused. A device that is offline sends nothing:
//! the app is told, and its policy decides whether it goes on, waits or sleeps. Before a device runs another app in its place, it gives `Input::Shutdown`
//! and waits, within bounds, for the app to end.
//!
//! When an app ends, requests to its URL that it has not answered are the host's to answer.
