package main

import (
	"sync"
	"time"
)

// mailbox holds what has come and was not taken yet. Its zero value is ready; all methods may be called from any goroutine.
type mailbox[T any] struct {
	mu     sync.Mutex
	items  []T
	closed bool
	change chan struct{} // closed at the next change; nil while there is no waiter
}

func (b *mailbox[T]) put(v T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.items = append(b.items, v)
	b.changed()
}

// close says that nothing more will come.
func (b *mailbox[T]) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.changed()
}

func (b *mailbox[T]) changed() {
	if b.change != nil {
		close(b.change)
		b.change = nil
	}
}

// take removes the first item that ok accepts, and waits for one until the time has passed or nothing more can come.
func (b *mailbox[T]) take(patience time.Duration, ok func(T) bool) (v T, found bool) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for late := false; ; {
		b.mu.Lock()
		for i, item := range b.items {
			if ok(item) {
				b.items = append(b.items[:i:i], b.items[i+1:]...)
				b.mu.Unlock()
				return item, true
			}
		}
		if b.closed || late {
			b.mu.Unlock()
			return v, false
		}
		if b.change == nil {
			b.change = make(chan struct{})
		}
		change := b.change
		b.mu.Unlock()
		select {
		case <-change:
		case <-timer.C:
			late = true
		}
	}
}

func (b *mailbox[T]) next(patience time.Duration) (T, bool) {
	return b.take(patience, func(T) bool { return true })
}

// all returns what has come and was not taken.
func (b *mailbox[T]) all() []T {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]T(nil), b.items...)
}
