package contain_test

import (
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/internal/contain"
)

func TestAFailureIsToldAlikeForPanicAndGoexit(t *testing.T) {
	for _, c := range []struct {
		name string
		f    func()
		want any
	}{
		{"returns", func() {}, nil},
		{"panics", func() { panic("a") }, "a"},
		{"exits", runtime.Goexit, contain.Exited},
	} {
		var got any
		calls := 0
		contain.Apart(c.f, func(v any) { got = v; calls++ })
		if got != c.want || calls > 1 {
			t.Errorf("%s: %v, told %d times", c.name, got, calls)
		}
	}
}

func TestCallGoesOnAfterAPanic(t *testing.T) {
	var got any
	contain.Call(func() { panic("a") }, func(v any) { got = v })
	if got != "a" {
		t.Errorf("got %v", got)
	}
}

func TestErrorSaysWhoAndHow(t *testing.T) {
	if s := contain.Error("the codec", "a").Error(); s != "rollcall: the codec panicked: a" {
		t.Error(s)
	}
	if s := contain.Error("the codec", contain.Exited).Error(); !strings.Contains(s, "runtime.Goexit") {
		t.Error(s)
	}
}

func BenchmarkApart(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		contain.Apart(func() {}, func(any) {})
	}
}

// A logon calls event handlers in this way: what it left behind would lie between what stays.
func TestApartAllocatesNothing(t *testing.T) {
	f, failed := func() {}, func(any) {}
	if n := testing.AllocsPerRun(100, func() { contain.Apart(f, failed) }); n >= 1 { // the race detector has pools lose some
		t.Errorf("%v allocations", n)
	}
}

// A call of the pool's that a bubble has made serves others.
func TestApartInAndOutOfABubble(t *testing.T) {
	for range 10 {
		synctest.Test(t, func(t *testing.T) { contain.Apart(func() { time.Sleep(time.Hour) }, func(any) {}) })
		contain.Apart(func() {}, func(any) {})
	}
}
