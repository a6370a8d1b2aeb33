//! The bridge between the core's reactor and the event loop of one JavaScript environment.
//!
//! The reactor's file descriptor is watched by one `uv_poll_t`, its next deadline by one
//! `uv_timer_t`. When either fires, the core works on this very thread and its events go to
//! JavaScript in one call: no thread hop in between.
//!
//! The functions of libuv used here are part of its stable ABI (1.x) and exported by every
//! Node.js and Electron binary: <https://docs.libuv.org/>.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use napi::sys;

use super::errors::{Result, exception};
use super::events;
use super::inbox::Inbox;
use super::sources::Sources;
use super::text::check;
use crate::error::{Code, Error};
use crate::socket::Hub;

/// Opaque types of libuv.
#[repr(C)]
struct UvLoop {
    _opaque: [u8; 0],
}
#[repr(C)]
struct UvHandle {
    _opaque: [u8; 0],
}

type PollCallback = unsafe extern "C" fn(*mut UvHandle, i32, i32);
type HandleCallback = unsafe extern "C" fn(*mut UvHandle);

// The numbers are part of libuv's ABI: `uv_handle_type` and `uv_poll_event`.
const UV_POLL: i32 = 8;
const UV_TIMER: i32 = 13;
const UV_READABLE: i32 = 1;

unsafe extern "C" {
    fn uv_handle_size(kind: i32) -> usize;
    fn uv_handle_get_data(handle: *const UvHandle) -> *mut c_void;
    fn uv_handle_set_data(handle: *mut UvHandle, data: *mut c_void);
    fn uv_poll_init(uv_loop: *mut UvLoop, handle: *mut UvHandle, fd: i32) -> i32;
    fn uv_poll_start(handle: *mut UvHandle, events: i32, callback: PollCallback) -> i32;
    fn uv_timer_init(uv_loop: *mut UvLoop, handle: *mut UvHandle) -> i32;
    fn uv_timer_start(
        handle: *mut UvHandle,
        callback: HandleCallback,
        timeout_ms: u64,
        repeat_ms: u64,
    ) -> i32;
    fn uv_timer_stop(handle: *mut UvHandle) -> i32;
    fn uv_close(handle: *mut UvHandle, callback: Option<HandleCallback>);
    fn uv_ref(handle: *mut UvHandle);
    fn uv_unref(handle: *mut UvHandle);
    fn uv_update_time(uv_loop: *mut UvLoop);
}

/// The core of one environment. See the module.
pub struct EventLoop {
    env: sys::napi_env,
    uv_loop: *mut UvLoop,
    /// `None` once the environment ends.
    hub: RefCell<Option<Hub>>,
    poll: Cell<*mut UvHandle>,
    timer: Cell<*mut UvHandle>,
    /// Handles of libuv that are not closed yet.
    open_handles: Cell<u8>,
    armed: Cell<Option<Instant>>,
    dispatch: Cell<sys::napi_ref>,
    inbox: RefCell<Inbox>,
    cleanup: Cell<sys::napi_async_cleanup_hook_handle>,
    /// What this environment listens to besides sockets.
    sources: RefCell<Sources>,
}

impl EventLoop {
    /// Joins the event loop of `env`. `dispatch` is called for every wake-up that has
    /// events, with [`events::Arguments`].
    ///
    /// # Errors
    /// When the environment offers no event loop of libuv, or no file descriptor is left.
    pub fn start(env: sys::napi_env, dispatch: sys::napi_value) -> Result<Rc<Self>> {
        let mut uv_loop = ptr::null_mut();
        // SAFETY: `env` is the environment of the running call.
        check(unsafe { sys::napi_get_uv_event_loop(env, &raw mut uv_loop) })?;
        let core = Hub::new().map_err(exception)?;
        let fd = core.as_raw_fd();
        let mut reference = ptr::null_mut();
        // SAFETY: `dispatch` is a function of the running call.
        check(unsafe { sys::napi_create_reference(env, dispatch, 1, &raw mut reference) })?;
        let this = Rc::new(EventLoop {
            env,
            uv_loop: uv_loop.cast(),
            hub: RefCell::new(Some(core)),
            poll: Cell::new(ptr::null_mut()),
            timer: Cell::new(ptr::null_mut()),
            open_handles: Cell::new(0),
            armed: Cell::new(None),
            dispatch: Cell::new(reference),
            inbox: RefCell::new(Inbox::new()),
            cleanup: Cell::new(ptr::null_mut()),
            sources: RefCell::default(),
        });
        // This reference belongs to the handles; the last one that is closed gives it back.
        let data = Rc::into_raw(Rc::clone(&this)).cast_mut().cast::<c_void>();
        // SAFETY: both handles get memory of the size that libuv asks for, which is freed after
        // their close callback; `data` outlives them.
        unsafe {
            let poll = allocate(UV_POLL);
            let timer = allocate(UV_TIMER);
            let status = uv_poll_init(this.uv_loop, poll, fd);
            if status != 0 {
                release(poll, UV_POLL);
                release(timer, UV_TIMER);
                sys::napi_delete_reference(env, reference);
                drop(Rc::from_raw(data.cast::<EventLoop>()));
                return Err(refused("uv_poll_init", status));
            }
            // It only fills the handle in.
            uv_timer_init(this.uv_loop, timer);
            uv_handle_set_data(poll, data);
            uv_handle_set_data(timer, data);
            // Neither keeps the process alive; see `set_keep_alive`.
            uv_unref(poll);
            uv_unref(timer);
            this.poll.set(poll);
            this.timer.set(timer);
            this.open_handles.set(2);
            let status = uv_poll_start(poll, UV_READABLE, on_readable);
            if status != 0 {
                this.close();
                return Err(refused("uv_poll_start", status));
            }
            let mut cleanup = ptr::null_mut();
            let hooked =
                sys::napi_add_async_cleanup_hook(env, Some(on_cleanup), data, &raw mut cleanup);
            // Without the hook the handles would outlive the environment.
            check(hooked).inspect_err(|_| this.close())?;
            this.cleanup.set(cleanup);
        }
        Ok(this)
    }

    /// Calls `work` with the core, then sees to the next deadline.
    ///
    /// # Errors
    /// When the environment is ending.
    pub fn with_hub<T>(&self, work: impl FnOnce(&mut Hub) -> T) -> Result<T> {
        let mut slot = self.hub.borrow_mut();
        let Some(core) = slot.as_mut() else {
            return Err(exception(Error::rule(
                Code::Internal,
                "The JavaScript environment is ending",
            )));
        };
        let result = work(core);
        let deadline = core.next_deadline();
        drop(slot);
        self.arm(deadline);
        Ok(result)
    }

    /// What this environment listens to besides sockets. Borrowed only while no JavaScript runs.
    pub fn sources(&self) -> &RefCell<Sources> {
        &self.sources
    }

    /// Memory in which JavaScript finds bytes that it reads at once.
    pub fn inbox(&self) -> &RefCell<Inbox> {
        &self.inbox
    }

    /// Whether the loop has something to live for.
    pub fn set_keep_alive(&self, alive: bool) {
        let poll = self.poll.get();
        if poll.is_null() || self.hub.borrow().is_none() {
            return;
        }
        // SAFETY: the handle is open, its memory lives until its close callback.
        unsafe { if alive { uv_ref(poll) } else { uv_unref(poll) } }
    }

    fn arm(&self, deadline: Option<Instant>) {
        if deadline == self.armed.get() || self.timer.get().is_null() {
            return;
        }
        let timer = self.timer.get();
        // SAFETY: the handle is open as long as the core is there, and the caller saw the core.
        unsafe {
            match deadline {
                None => {
                    uv_timer_stop(timer);
                }
                Some(at) => {
                    let wait = at.saturating_duration_since(Instant::now());
                    // libuv counts whole milliseconds from a clock that it reads once per
                    // iteration. Round up: a timer must not fire before its deadline.
                    let ms = wait.as_nanos().div_ceil(1_000_000);
                    if ms > 0 {
                        uv_update_time(self.uv_loop);
                    }
                    uv_timer_start(timer, on_timer, u64::try_from(ms).unwrap_or(u64::MAX), 0);
                }
            }
        }
        self.armed.set(deadline);
    }

    /// Something can be read. What most likely is goes to JavaScript first, the rest follows.
    fn read(&self) {
        let mut events = Vec::new();
        if let Some(core) = self.hub.borrow_mut().as_mut() {
            core.poll_likely(&mut events);
        }
        if !events.is_empty() {
            self.call(|env, inbox| events::encode(env, inbox, events, Vec::new()));
        }
        // `None` when JavaScript has closed it.
        let done = self
            .hub
            .borrow()
            .as_ref()
            .map(|core| (core.is_done(), core.next_deadline()));
        match done {
            Some((true, deadline)) => self.arm(deadline),
            Some((false, _)) => self.turn(),
            None => {}
        }
    }

    /// One wake-up: all work that is possible, then one call into JavaScript.
    fn turn(&self) {
        let mut events = Vec::new();
        let mut signals = Vec::new();
        let polled = {
            let mut slot = self.hub.borrow_mut();
            let Some(core) = slot.as_mut() else { return };
            let result = core.poll(Some(Duration::ZERO), &mut events, &mut signals);
            let deadline = core.next_deadline();
            drop(slot);
            self.arm(deadline);
            result
        };
        if let Err(error) = polled {
            // Only a broken descriptor table leads here; nothing of ours can go on.
            eprintln!("@flowtrace/ipc: {error}");
            return;
        }
        let told = self.sources.borrow_mut().collect(&signals);
        if events.is_empty() && told.is_empty() {
            return;
        }
        self.call(|env, inbox| events::encode(env, inbox, events, told));
    }

    /// Calls the dispatcher with what `encode` made, as the outermost frame: promises and
    /// `process.nextTick` are served before this returns.
    fn call(&self, encode: impl FnOnce(sys::napi_env, &mut Inbox) -> Result<events::Arguments>) {
        let env = self.env;
        // The dispatcher reads all of it before anything else runs.
        self.inbox.borrow_mut().clear();
        let mut scope = ptr::null_mut();
        // SAFETY: this runs on the environment's thread from its event loop; the scope bounds
        // every handle made here; a failing call leaves its result untouched and is checked.
        unsafe {
            if sys::napi_open_handle_scope(env, &raw mut scope) != sys::Status::napi_ok {
                return;
            }
            let mut receiver = ptr::null_mut();
            let mut dispatch = ptr::null_mut();
            let ready = sys::napi_get_global(env, &raw mut receiver) == sys::Status::napi_ok
                && sys::napi_get_reference_value(env, self.dispatch.get(), &raw mut dispatch)
                    == sys::Status::napi_ok;
            // It fails when the environment is ending: nobody is left to be told. No text is too
            // long for it, see `limits::TEXT_BYTES_MAX`.
            let arguments = ready.then(|| encode(env, &mut self.inbox.borrow_mut()));
            if let Some(Ok(arguments)) = arguments {
                let mut result = ptr::null_mut();
                let status = sys::napi_make_callback(
                    env,
                    ptr::null_mut(),
                    receiver,
                    dispatch,
                    arguments.len(),
                    arguments.as_ptr(),
                    &raw mut result,
                );
                if status == sys::Status::napi_pending_exception {
                    // Our dispatcher catches everything; what is left is an error in it, or the
                    // end of the environment, in which case there is no exception to fetch.
                    let mut thrown = ptr::null_mut();
                    if sys::napi_get_and_clear_last_exception(env, &raw mut thrown)
                        == sys::Status::napi_ok
                        && !thrown.is_null()
                    {
                        sys::napi_fatal_exception(env, thrown);
                    }
                }
            }
            sys::napi_close_handle_scope(env, scope);
        }
    }

    /// Closes every socket and both handles: the environment ends, or nobody needs this any more.
    pub fn close(&self) {
        let Some(core) = self.hub.borrow_mut().take() else {
            return;
        };
        let (poll, timer) = (self.poll.get(), self.timer.get());
        // SAFETY: both handles are open: the core is taken only once. The reference belongs to
        // this environment, on whose thread this runs.
        unsafe {
            uv_close(poll, Some(on_closed));
            uv_close(timer, Some(on_closed));
            sys::napi_delete_reference(self.env, self.dispatch.get());
            self.inbox.borrow_mut().close(self.env);
        }
        // Only after libuv has let go of the reactor's descriptor.
        drop(core);
        let sources = std::mem::take(&mut *self.sources.borrow_mut());
        drop(sources);
    }
}

fn refused(call: &str, status: i32) -> napi::Error<String> {
    exception(Error::rule(
        Code::Internal,
        format!("{call} fails with status {status}"),
    ))
}

/// Runs `work` for the loop behind a handle; a panic is reported and stops there.
unsafe fn guarded(data: *mut c_void, work: impl FnOnce(&EventLoop)) {
    let this: *const EventLoop = data.cast_const().cast();
    // SAFETY: the handles own a reference to the loop, and `data` is that reference. Another one
    // is taken for the time of the call, in which JavaScript may end the environment.
    let this = unsafe {
        Rc::increment_strong_count(this);
        Rc::from_raw(this)
    };
    if catch_unwind(AssertUnwindSafe(|| work(&this))).is_err() {
        // The panic hook has printed where. The loop goes on; what was under way is lost.
        eprintln!("@flowtrace/ipc: internal error, please report it");
    }
}

unsafe extern "C" fn on_readable(handle: *mut UvHandle, _status: i32, _events: i32) {
    // SAFETY: libuv calls this with an open handle of ours.
    unsafe { guarded(uv_handle_get_data(handle), EventLoop::read) }
}

unsafe extern "C" fn on_timer(handle: *mut UvHandle) {
    // SAFETY: libuv calls this with an open handle of ours.
    unsafe {
        guarded(uv_handle_get_data(handle), |this| {
            this.armed.set(None);
            this.turn();
        });
    }
}

unsafe extern "C" fn on_cleanup(_: sys::napi_async_cleanup_hook_handle, data: *mut c_void) {
    // SAFETY: Node calls this once, with the data given to it.
    unsafe { guarded(data, EventLoop::close) }
}

unsafe extern "C" fn on_closed(handle: *mut UvHandle) {
    // SAFETY: libuv has let go of the handle, so its memory can be freed. The last handle gives
    // back the reference that both share.
    unsafe {
        let data = uv_handle_get_data(handle).cast::<EventLoop>();
        let this = &*data;
        let kind = if handle == this.poll.get() {
            UV_POLL
        } else {
            UV_TIMER
        };
        release(handle, kind);
        this.open_handles.set(this.open_handles.get() - 1);
        if this.open_handles.get() == 0 {
            if !this.cleanup.get().is_null() {
                sys::napi_remove_async_cleanup_hook(this.cleanup.get());
            }
            drop(Rc::from_raw(data));
        }
    }
}

fn layout(kind: i32) -> std::alloc::Layout {
    // SAFETY: a pure function of libuv.
    let size = unsafe { uv_handle_size(kind) };
    std::alloc::Layout::from_size_align(size.max(16), 16).expect("libuv's handles are small")
}

unsafe fn allocate(kind: i32) -> *mut UvHandle {
    let layout = layout(kind);
    // SAFETY: the layout is not empty.
    let memory = unsafe { std::alloc::alloc_zeroed(layout) };
    if memory.is_null() {
        std::alloc::handle_alloc_error(layout);
    }
    memory.cast()
}

unsafe fn release(handle: *mut UvHandle, kind: i32) {
    // SAFETY: the caller passes what `allocate` returned for the same kind, once.
    unsafe { std::alloc::dealloc(handle.cast(), layout(kind)) }
}
