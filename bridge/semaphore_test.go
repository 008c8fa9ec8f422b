package bridge

import (
	"context"
	"errors"
	"testing"
)

// Places go to those who wait in the order in which they joined; who gives up makes room for those behind.
func TestTurns(t *testing.T) {
	q := newSemaphore(2)
	in := func(p *turn) bool {
		if p.in == nil {
			return true
		}
		select {
		case <-p.in:
			return true
		default:
			return false
		}
	}
	var p []*turn
	for range 6 {
		p = append(p, q.join())
	}
	wantIn := func(want ...bool) {
		t.Helper()
		for i, want := range want {
			if in(p[i]) != want {
				t.Fatalf("turn %d: in is %v, want %v", i, !want, want)
			}
		}
	}
	wantIn(true, true, false, false, false, false)
	gone := errors.New("the client is gone")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(gone)
	if err := p[3].wait(ctx); !errors.Is(err, gone) { // although no place is free
		t.Errorf("wait returned %v", err)
	}
	if err := p[0].wait(ctx); !errors.Is(err, gone) { // although it has its place
		t.Errorf("wait returned %v", err)
	}
	q.leave(p[3])
	q.leave(p[3])
	if n := q.waiting.Len(); n != 3 {
		t.Errorf("%d wait", n)
	}
	q.leave(p[0])
	q.leave(p[0]) // counts once
	wantIn(true, true, true, false, false, false)
	if err := p[2].wait(context.Background()); err != nil {
		t.Errorf("wait returned %v", err)
	}
	q.leave(p[1])
	wantIn(true, true, true, false, true, false)
	for _, p := range p {
		q.leave(p)
	}
	for i, want := range []bool{true, true, false} {
		if in(q.join()) != want {
			t.Errorf("when everybody had left, turn %d: in is %v", i, !want)
		}
	}
	var none *semaphore
	none.leave(none.join())
	if err := none.join().wait(ctx); err != nil {
		t.Errorf("without a limit wait returned %v", err)
	}
}
