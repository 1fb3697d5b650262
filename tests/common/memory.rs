//! A global allocator that counts allocations and, when asked, looks into every block that is freed.
//!
//! The project's unsafe code is allocators of tests and benches that count, such as this one; the library has none.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

pub struct Watched;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LOOKING: Cell<bool> = const { Cell::new(false) };
}

/// What to look for: up to 8 needles of 12 bytes, the shortest secret there is.
static NEEDLES: [[AtomicU64; 2]; 8] = [const { [AtomicU64::new(0), AtomicU64::new(0)] }; 8];
static FOUND: AtomicU64 = AtomicU64::new(0);
static ARMED: AtomicBool = AtomicBool::new(false);

/// How often this thread has allocated since it began.
pub fn allocations() -> u64 {
    ALLOCATIONS.get()
}

/// How many blocks that `run` freed held the first 12 bytes of one of `secrets`.
pub fn freed_blocks_with(secrets: &[&[u8]], run: impl FnOnce()) -> u64 {
    // One search at a time: tests run side by side.
    static SEARCH: Mutex<()> = Mutex::new(());
    let _search = SEARCH.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(secrets.len() <= NEEDLES.len());
    for (needle, secret) in NEEDLES.iter().zip(secrets) {
        let (head, tail) = (secret[..8].try_into().unwrap(), secret[4..12].try_into().unwrap());
        needle[0].store(u64::from_ne_bytes(head), Ordering::SeqCst);
        needle[1].store(u64::from_ne_bytes(tail), Ordering::SeqCst);
    }
    FOUND.store(0, Ordering::SeqCst);
    ARMED.store(true, Ordering::SeqCst);
    LOOKING.set(true);
    run();
    LOOKING.set(false);
    ARMED.store(false, Ordering::SeqCst);
    for needle in &NEEDLES {
        needle[0].store(0, Ordering::SeqCst);
    }
    FOUND.load(Ordering::SeqCst)
}

fn count() {
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

fn look(block: *const u8, len: usize) {
    if !ARMED.load(Ordering::Relaxed) || !LOOKING.try_with(Cell::get).unwrap_or(false) {
        return;
    }
    for at in 0..len.saturating_sub(11) {
        // SAFETY: the block is allocated until this call returns, and `at + 12 <= len`. Read as raw memory: bytes
        // that were never written have whatever value an earlier owner left, which is what is looked for.
        let (head, tail) =
            unsafe { (block.add(at).cast::<u64>().read_unaligned(), block.add(at + 4).cast::<u64>().read_unaligned()) };
        for needle in &NEEDLES {
            let wanted = needle[0].load(Ordering::Relaxed);
            if wanted != 0 && head == wanted && tail == needle[1].load(Ordering::Relaxed) {
                FOUND.fetch_add(1, Ordering::SeqCst);
                return;
            }
        }
    }
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        look(block, layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // The old block may be freed without being wiped.
        look(block, layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(block, layout, size) }
    }
}
