//! Other copies of this library in the process must not have the same file open.
//!
//! A process may load the addon from several files, such as when npm keeps two copies of the
//! package. Each of them brings its own SQLite, and each SQLite believes itself alone: POSIX locks
//! belong to the process, and whoever closes a descriptor of a file first gives up the locks of
//! all. The other copy then writes without a lock that it believes to have, and durable messages
//! are lost. So a copy says which files it has open, and asks the others before it opens one.
//!
//! The copies find each other among the objects that the dynamic linker has loaded, by a function
//! that each of them exports. That leaves nothing behind, not on the disk, nor in the environment
//! of child processes, and ends with the copy itself.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_int, c_void};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Code, Error, Result};

/// A file by its device and inode.
type Identity = (u64, u64);

/// A file that this copy has open. Dropping it says that one connection to it is closed.
#[derive(Debug)]
pub(super) struct OpenFile(Identity);

impl OpenFile {
    /// Says that a connection to this file is about to be opened.
    ///
    /// # Errors
    /// `AnotherCopy` when another copy of this library has it open. Two that open it at the same
    /// moment may both be told so.
    pub(super) fn announce(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path)
            .map_err(|error| Error::system("stat", path.display().to_string(), error))?;
        let identity = (metadata.dev(), metadata.ino());
        let is_first = {
            let mut open = open_files();
            let count = open.entry(identity).or_insert(0);
            *count += 1;
            *count == 1
        };
        // Said first and asked afterwards: of two that do so at least one is told.
        let file = OpenFile(identity);
        if is_first && let Some(copy) = copy_with(identity) {
            return Err(Error::rule(
                Code::AnotherCopy,
                format!(
                    "Another copy of this package, {copy}, has {} open in this process. Two copies \
                     of SQLite cancel each other's locks.",
                    path.display()
                ),
            ));
        }
        Ok(file)
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let mut open = open_files();
        if let Some(count) = open.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.0);
            }
        }
    }
}

/// How many connections this copy has to a file.
fn open_files() -> MutexGuard<'static, BTreeMap<Identity, usize>> {
    static OPEN: Mutex<BTreeMap<Identity, usize>> = Mutex::new(BTreeMap::new());
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name under which copies find [`has_open`]. Its form never changes; another one would have
/// another name.
const NAME: &CStr = c"flowtrace_ipc_has_open_1";

/// Asks a copy whether it has a file open.
type HasOpen = unsafe extern "C" fn(device: u64, inode: u64) -> c_int;

/// Whether this copy has the file open, for the others.
#[unsafe(export_name = "flowtrace_ipc_has_open_1")]
unsafe extern "C" fn has_open(device: u64, inode: u64) -> c_int {
    c_int::from(open_files().contains_key(&(device, inode)))
}

/// The file of another copy that has this file open.
fn copy_with((device, inode): Identity) -> Option<String> {
    loaded_objects().into_iter().find_map(|name| {
        let object = Object::loaded(&name)?;
        let other = object.has_open()?;
        let is_this_one = other as usize == has_open as *const () as usize;
        // SAFETY: a function of this name has this form, and the object stays loaded meanwhile.
        let answer = !is_this_one && unsafe { other(device, inode) } != 0;
        answer.then(|| name.to_string_lossy().into_owned())
    })
}

/// An object that the dynamic linker has loaded, and keeps while this is there.
struct Object(*mut c_void);

impl Object {
    fn loaded(name: &CStr) -> Option<Self> {
        // SAFETY: the name ends with NUL; nothing is loaded that is not loaded already.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
        (!handle.is_null()).then_some(Object(handle))
    }

    /// The function of a copy of this library. The search takes in what the object depends on, of
    /// which no copy can be a part: nothing is linked to one.
    fn has_open(&self) -> Option<HasOpen> {
        // SAFETY: the handle is open, the name ends with NUL.
        let symbol = unsafe { libc::dlsym(self.0, NAME.as_ptr()) };
        // SAFETY: only this library has a function of this name, and it has this form.
        (!symbol.is_null()).then(|| unsafe { std::mem::transmute::<*mut c_void, HasOpen>(symbol) })
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: `loaded` has opened it, and nobody uses it any more.
        unsafe { libc::dlclose(self.0) };
    }
}

/// The names of everything that is loaded, but for the program itself.
#[cfg(not(target_os = "macos"))]
fn loaded_objects() -> Vec<CString> {
    unsafe extern "C" fn collect(
        info: *mut libc::dl_phdr_info,
        _size: usize,
        names: *mut c_void,
    ) -> c_int {
        // SAFETY: the linker passes an object's description, and the pointer that it was given.
        let (name, names) = unsafe { ((*info).dlpi_name, &mut *names.cast::<Vec<CString>>()) };
        if !name.is_null() {
            // SAFETY: a name is a string that lives as long as the call.
            names.push(unsafe { CStr::from_ptr(name) }.to_owned());
        }
        0
    }
    let mut names: Vec<CString> = Vec::new();
    // SAFETY: the function has the right form, and the list outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(collect), (&raw mut names).cast()) };
    // The program has none.
    names.retain(|name| !name.is_empty());
    names
}

/// The names of everything that is loaded, but for the program itself.
#[cfg(target_os = "macos")]
fn loaded_objects() -> Vec<CString> {
    // SAFETY: the first image is the program; of an index that has no image the name is null, and a
    // name is a string that lives as long as its image.
    unsafe {
        (1..libc::_dyld_image_count())
            .map(|index| libc::_dyld_get_image_name(index))
            .filter(|name| !name.is_null())
            .map(|name| CStr::from_ptr(name).to_owned())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::super::testing::Folder;
    use super::*;

    fn identity(path: &Path) -> Identity {
        let metadata = fs::metadata(path).expect("there");
        (metadata.dev(), metadata.ino())
    }

    #[test]
    fn a_file_is_open_until_its_last_connection_is_closed() {
        let folder = Folder::new();
        let (first, second) = (folder.store(), folder.store());
        let (device, inode) = identity(&folder.path());
        // SAFETY: it has this form.
        let is_open = || unsafe { has_open(device, inode) } == 1;
        assert!(is_open());
        first.close().expect("ours");
        assert!(is_open());
        drop(second);
        assert!(!is_open());
        std::fs::write(folder.path(), "no database, but long enough").expect("ours");
        Store::open(&folder.options())
            .err()
            .expect("not a database");
        assert!(!is_open(), "what could not be opened is not open");
    }
}
