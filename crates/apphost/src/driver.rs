//! How a host drives an [`App`](crate::App): no code, the contract in one place.
//!
//! ```text
//! code = Code::from_image(image, End::Device or End::Agent)          // once per deployment
//! app = App::new(&code, side, limits, wake reason, now)
//! loop {
//!     turn = app.run(now)                            // one slice of one event, at most
//!     while let Some(output) = app.poll_output() {   // after every run and every input
//!         Log                 -> keep or send the line, with the time of now
//!         Send                -> hand to the session; answer Input::Sent(Ok) once it is queued there,
//!                                Err(NotConnected) or Err(TimedOut) otherwise (bounded: the script waits)
//!         Save                -> store durably, then Input::Saved(Ok) or Err(why)
//!         SaveUserConfiguration -> keep, then Input::Saved(Ok) or Err(why); hand it to the next App of this device
//!         HttpRequest         -> make it within its time, then Input::HttpAnswer; HttpCancel gives it up
//!         HttpResponse        -> answer that request
//!         Failed              -> the app is over: drop it, wait RestartDelay::failed(), start a new one (WakeReason::AppError)
//!         RestartRequested    -> the app is over: drop it, start a new one (WakeReason::Restart)
//!     }
//!     match turn {
//!         More    -> let others have a turn, then run again
//!         Idle    -> sleep until app.poll_timeout() or the next input
//!         Waiting -> sleep until app.poll_timeout() (now, once the answer was given) or the answer (Sent, Saved, HttpAnswer) or the next input
//!         Ended   -> Failed or RestartRequested was given
//!     }
//! }
//! ```
//!
//! `input` refuses when the app's queue is full: hold the input until `run` has made room (`App::has_room`). Answers (`Sent`, `Saved`, `HttpAnswer`)
//! are never refused. A device that is offline sends nothing: the app is told by `Input::Connected` and `Input::Disconnected`, answers
//! `agent.send` by itself with an error and goes on running. Before a device runs another app in its place, it gives `Input::Shutdown`
//! and waits, within bounds, for the app to end.
//!
//! When an app ends, requests to its URL that it has not answered are the host's to answer.
