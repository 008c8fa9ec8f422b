package usermgr

import (
	"encoding/binary"
	"hash/maphash"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/protocol"
)

const (
	// maxEnded is how many sessions that have ended are remembered at most. Each takes some 120 to 140 bytes.
	maxEnded = 100_000
	// endedFor is how long a session that has ended is remembered.
	endedFor = time.Hour
	// maxEndedTexts is how many bytes the texts of all remembered sessions may have. A session whose text has no room is
	// remembered with its code alone.
	maxEndedTexts = 1 << 20
	// endedTextCost is what a text takes besides its bytes.
	endedTextCost = 64
)

// endedSessions remembers how sessions ended, the latest of them and not for long, for clients that come back without having
// heard it (rule 26).
//
// A session that another one continues names that one. So the sessions of one client are a chain, and any of them leads to
// the last one, which either lives or has ended for good.
type endedSessions struct {
	limit int
	keep  time.Duration
	began time.Time // the times below count from here
	seed  maphash.Seed

	mu     sync.Mutex
	ring   []endedSession    // its length is a power of two
	first  uint32            // number of the oldest; session n stands at ring[n%len(ring)]
	next   uint32            // number of the one that comes next
	bySer  map[uint64]uint32 // numbers, by serial
	texts  map[string]*endedText
	bytes  int         // of all texts
	timer  *time.Timer // runs while any session is remembered
	closed bool
}

// endedSession is what is remembered of a session.
type endedSession struct {
	id     idDigest
	serial uint64     // the session's
	heir   uint64     // serial of the session that continues this one; 0 for none
	text   *endedText // nil for none
	at     uint32     // when it ended, in steps of endedStep
	code   protocol.CloseCode
}

// idDigest stands for a session's ID, of its user. It is keyed by a secret of this process, and takes a tenth of a digest's time;
// that does for what is found by the session's serial, and compared.
type idDigest struct{ user, id uint64 }

func (e *endedSessions) digestOf(userID string, id uuid.UUID) idDigest {
	return idDigest{maphash.String(e.seed, userID), maphash.Bytes(e.seed, id[:])}
}

// endedText is a text that sessions ended with. Sessions share it.
type endedText struct {
	text  string
	users int
}

// endedStep is how exactly the time of an end is known.
const endedStep = 100 * time.Millisecond

// serialOf returns the part of a session's ID that grows from each session of this process to the next. It tells which of two
// sessions is newer, and names one.
func serialOf(id uuid.UUID) uint64 { return binary.BigEndian.Uint64(id[:8]) }

func (e *endedSessions) init() {
	e.limit, e.keep, e.began, e.seed = maxEnded, endedFor, time.Now(), maphash.MakeSeed()
}

// add remembers a session that ends.
func (e *endedSessions) add(s *session, why *ending) {
	id := e.digestOf(s.user.id, s.id) // before the lock is taken
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	if e.len() == e.limit {
		e.forgetFirst()
	}
	if e.len() == len(e.ring) {
		e.resize(max(2*len(e.ring), 16))
	}
	x := endedSession{id: id, serial: serialOf(s.id), heir: why.heir, at: e.now(), code: why.code}
	if x.heir == 0 {
		x.text = e.share(why.text)
	}
	e.bySer[x.serial] = e.next
	*e.at(e.next) = x
	e.next++
	if e.timer == nil {
		e.timer = time.AfterFunc(e.keep, e.forgetOld)
	}
}

// lastOf is where a chain of sessions leads to.
type lastOf struct {
	serial uint64 // of the last session
	lives  bool
	code   protocol.CloseCode // with which it ended, and the text
	text   string
}

// find returns the last session of the chain to which the session of the user with this ID belongs, if that is remembered.
func (e *endedSessions) find(userID, sessionID string) (last lastOf, ok bool) {
	id, err := uuid.Parse(sessionID)
	if err != nil {
		return lastOf{}, false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	x := e.get(serialOf(id))
	if x == nil || x.id != e.digestOf(userID, id) {
		return lastOf{}, false
	}
	end := x
	for end.heir != 0 {
		after := e.get(end.heir)
		if after == nil { // a session is remembered for as long as those that it continues: this one has not ended
			last.serial, last.lives = end.heir, true
			break
		}
		end = after
	}
	if !last.lives {
		last = lastOf{serial: end.serial, code: end.code, text: end.text.String()}
	}
	for x.heir != 0 && x.heir != last.serial { // the next look finds it at once
		after := e.get(x.heir)
		x.heir = last.serial
		if after == nil {
			break
		}
		x = after
	}
	return last, true
}

// inherit notes that the session with the serial heir continues one that has ended.
func (e *endedSessions) inherit(serial, heir uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if x := e.get(serial); x != nil && x.heir == 0 {
		x.heir = heir
		e.release(x.text)
		x.text = nil
	}
}

// close forgets everything, for good.
func (e *endedSessions) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	if e.timer != nil {
		e.timer.Stop()
	}
	e.ring, e.bySer, e.texts, e.first, e.next = nil, nil, nil, 0, 0
}

// The rest is called with e.mu held.

func (e *endedSessions) len() int                   { return int(e.next - e.first) }
func (e *endedSessions) at(n uint32) *endedSession  { return &e.ring[n%uint32(len(e.ring))] }
func (e *endedSessions) now() uint32                { return uint32(time.Since(e.began) / endedStep) }
func (e *endedSessions) isOld(x *endedSession) bool { return e.age(x) >= e.keep }

func (e *endedSessions) age(x *endedSession) time.Duration {
	return time.Duration(e.now()-x.at) * endedStep
}

// get returns the session with the serial, nil when it is not remembered.
func (e *endedSessions) get(serial uint64) *endedSession {
	n, ok := e.bySer[serial]
	if !ok || e.isOld(e.at(n)) {
		return nil
	}
	return e.at(n)
}

func (e *endedSessions) forgetFirst() {
	x := e.at(e.first)
	delete(e.bySer, x.serial)
	e.release(x.text)
	*x = endedSession{}
	e.first++
}

// forgetOld is the timer's.
func (e *endedSessions) forgetOld() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	for e.len() > 0 && e.isOld(e.at(e.first)) {
		e.forgetFirst()
	}
	size := len(e.ring)
	for size > 16 && e.len() <= size/4 {
		size /= 2
	}
	if size < len(e.ring) {
		e.resize(size)
	}
	if e.len() == 0 {
		e.ring, e.bySer, e.texts, e.timer = nil, nil, nil, nil
		return
	}
	e.timer.Reset(max(e.keep-e.age(e.at(e.first)), e.keep/60)) // not for each by itself
}

// resize makes room for so many. A map does not give back its memory, so it is made anew.
func (e *endedSessions) resize(size int) {
	ring, bySer := make([]endedSession, size), make(map[uint64]uint32, size)
	for n := e.first; n != e.next; n++ {
		x := e.at(n)
		ring[n%uint32(size)] = *x
		bySer[x.serial] = n
	}
	e.ring, e.bySer = ring, bySer
}

// share returns what sessions keep of a text.
func (e *endedSessions) share(text string) *endedText {
	if text == "" {
		return nil
	}
	t := e.texts[text]
	if t == nil {
		if e.bytes+len(text)+endedTextCost > maxEndedTexts {
			return nil
		}
		if e.texts == nil {
			e.texts = make(map[string]*endedText)
		}
		t = &endedText{text: text}
		e.texts[text] = t
		e.bytes += len(text) + endedTextCost
	}
	t.users++
	return t
}

func (e *endedSessions) release(t *endedText) {
	if t == nil {
		return
	}
	if t.users--; t.users == 0 {
		delete(e.texts, t.text)
		e.bytes -= len(t.text) + endedTextCost
	}
}

// String returns the text; nil has none.
func (t *endedText) String() string {
	if t == nil {
		return ""
	}
	return t.text
}
