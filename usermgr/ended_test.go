package usermgr

import (
	"fmt"
	"hash/maphash"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// endedOf returns an empty memory, and a function that has ann's next session end in it and returns its ID.
func endedOf(t *testing.T, limit int, keep time.Duration) (*endedSessions, func(why ending) string) {
	t.Helper()
	e := &endedSessions{limit: limit, keep: keep, began: time.Now(), seed: maphash.MakeSeed()}
	t.Cleanup(e.close)
	var ids sessionIDs
	ids.init()
	ann := &user{id: "ann"}
	return e, func(why ending) string {
		id, err := ids.next()
		if err != nil {
			t.Fatal(err)
		}
		s := &session{user: ann, id: id}
		e.add(s, &why)
		return s.ID()
	}
}

// Rule 26: the IDs of sessions grow: which of two is newer, and which one is meant, is read from them.
func TestSessionIDsGrow(t *testing.T) {
	var ids sessionIDs
	ids.init()
	last := uint64(0)
	for range 10_000 {
		id, err := ids.next()
		if err != nil {
			t.Fatal(err)
		}
		if serialOf(id) <= last {
			t.Fatalf("after serial %x comes %x", last, serialOf(id))
		}
		last = serialOf(id)
	}
}

// Rule 26: the last sessions are remembered, and no more of them.
func TestSessionsThatEndedAreRememberedUpToANumber(t *testing.T) {
	e, end := endedOf(t, 100, time.Hour)
	var ids []string
	for i := range 1000 {
		ids = append(ids, end(ending{code: protocol.KickedOut, text: fmt.Sprint("text ", i)}))
	}
	for i, id := range ids {
		last, ok := e.find("ann", id)
		if want := i >= 900; ok != want {
			t.Fatalf("session %d is remembered: %v, want %v", i, ok, want)
		}
		if ok && (last.code != protocol.KickedOut || last.text != fmt.Sprint("text ", i) || last.lives) {
			t.Errorf("session %d ended with %+v", i, last)
		}
	}
	if len(e.texts) != 100 || len(e.bySer) != 100 || len(e.ring) != 128 {
		t.Errorf("%d texts, %d serials and a ring of %d are kept for 100 sessions", len(e.texts), len(e.bySer), len(e.ring))
	}
}

// Rule 26: sessions are forgotten in time, also when no other one ends, and their memory is given back.
func TestSessionsThatEndedAreForgottenInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, end := endedOf(t, 1000, time.Hour)
		for range 500 {
			end(ending{code: protocol.KickedOut, text: "out"})
			time.Sleep(time.Second)
		}
		time.Sleep(time.Hour - 250*time.Second)
		synctest.Wait()
		e.mu.Lock()
		n := e.len()
		e.mu.Unlock()
		if n < 240 || n > 320 { // the oldest go once a minute
			t.Errorf("%d of 500 are remembered, want those of the last hour", n)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		e.mu.Lock()
		if e.len() != 0 || e.ring != nil || e.bySer != nil || e.texts != nil || e.timer != nil {
			t.Errorf("%d are remembered, with a ring of %d and %d texts, after all were to be forgotten", e.len(), len(e.ring), len(e.texts))
		}
		e.mu.Unlock()
		id := end(ending{code: protocol.KickedOut})
		if _, ok := e.find("ann", id); !ok {
			t.Error("what ended later is not remembered")
		}
	})
}

// Rule 26: a long chain is found, at once from the second look on.
func TestALongChainIsFound(t *testing.T) {
	e, end := endedOf(t, 10_000, time.Hour)
	var ids []string
	var serials []uint64
	var gen sessionIDs
	gen.init()
	ann := &user{id: "ann"}
	next, _ := gen.next()
	for range 5000 {
		s := &session{user: ann, id: next}
		next, _ = gen.next()
		e.add(s, &ending{code: protocol.PushedOut, heir: serialOf(next)})
		ids, serials = append(ids, s.ID()), append(serials, serialOf(s.id))
	}
	if last, ok := e.find("ann", ids[0]); !ok || !last.lives || last.serial != serialOf(next) {
		t.Fatalf("the first of the chain leads to %+v, %v; want the session that lives", last, ok)
	}
	for _, s := range serials {
		if x := e.get(s); x.heir != serialOf(next) {
			t.Fatalf("the chain has not become short: %x leads to %x", s, x.heir)
		}
	}
	lastID := end(ending{code: protocol.NetworkError}) // of another chain
	id, _ := uuid.Parse(lastID)
	e.inherit(serialOf(id), serialOf(next))
	if last, ok := e.find("ann", lastID); !ok || !last.lives || last.serial != serialOf(next) {
		t.Errorf("a session that was continued after its end leads to %+v, %v", last, ok)
	}
}

// Rule 26: what is remembered is bounded in bytes, however long the texts are.
func TestWhatIsRememberedIsBoundedInBytes(t *testing.T) {
	e, end := endedOf(t, maxEnded, time.Hour)
	first := end(ending{code: protocol.KickedOut, text: strings.Repeat("x", maxEndedTexts-endedTextCost)})
	second := end(ending{code: protocol.KickedOut, text: "no room"})
	if last, _ := e.find("ann", first); len(last.text) != maxEndedTexts-endedTextCost {
		t.Errorf("of a text that has room %d bytes are kept", len(last.text))
	}
	if last, ok := e.find("ann", second); !ok || last.code != protocol.KickedOut || last.text != "" {
		t.Errorf("a session whose text has no room is remembered as %+v, %v", last, ok)
	}
	before := testkit.Heap().HeapAlloc
	for range maxEnded {
		end(ending{code: protocol.PushedOut, text: textPushedOut})
	}
	if e.bytes != len(textPushedOut)+endedTextCost {
		t.Errorf("one text takes %d bytes", e.bytes)
	}
	if got := float64(testkit.Heap().HeapAlloc-before) / maxEnded; got > 128 {
		t.Errorf("a session that has ended takes %.0f bytes, more than 128", got)
	} else {
		t.Logf("a session that has ended takes %.0f bytes", got)
	}
	runtime.KeepAlive(e)
}
