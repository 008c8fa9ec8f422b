package usermgr

import (
	"encoding/binary"
	"hash/maphash"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

const (
	// maxEnded is the most ended sessions that are remembered. Each takes 120 to 140 bytes.
	maxEnded = 100_000
	// endedFor is how long a session that has ended is remembered.
	endedFor = time.Hour
	// maxEndedTexts limits the bytes of the texts of all remembered sessions. Over the limit a session is remembered
	// without its text.
	maxEndedTexts = 1 << 20
	// endedTextCost is the memory of a text besides its bytes.
	endedTextCost = 64
)

// endedSessions remembers for some time how the latest sessions ended, for clients that come back without knowing it
// (rule 26).
//
// A session that was continued has the serial of its successor. So the sessions of one client are a chain, and each
// leads to the last one, which either lives or has ended for good.
type endedSessions struct {
	limit int
	keep  time.Duration
	began time.Time // the times below are relative to it
	seed  maphash.Seed

	mu     sync.Mutex
	ring   []endedSession    // its length is a power of two
	first  uint32            // number of the oldest; session n stands at ring[n%len(ring)]
	next   uint32            // number of the next session
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

// idDigest is a digest of a session's ID and user, with a key that only this process has. It takes a tenth of the time
// of a digest. It is strong enough because the session is found by its serial, and idDigest is only compared.
type idDigest struct{ user, id uint64 }

func (e *endedSessions) digestOf(userID string, id uuid.UUID) idDigest {
	return idDigest{maphash.String(e.seed, userID), maphash.Bytes(e.seed, id[:])}
}

// endedText is a text that sessions ended with. Sessions with the same text share it.
type endedText struct {
	text  string
	users int
}

// endedStep is the resolution of the time of an end.
const endedStep = 100 * time.Millisecond

// serialOf returns the part of a session's ID that grows from each session of this process to the next. It identifies a
// session, and the newer of two sessions has the greater one.
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

// lastOf is the last session of a chain.
type lastOf struct {
	serial uint64 // of the last session
	lives  bool
	code   protocol.CloseCode // its close code, and the text
	text   string
}

// find returns the last session of the chain to which the user's session with this ID belongs, and whether it is
// remembered.
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
		if after == nil { // an ended session is remembered as long as those before it in the chain: this one has not ended
			last.serial, last.lives = end.heir, true
			break
		}
		end = after
	}
	if !last.lives {
		last = lastOf{serial: end.serial, code: end.code, text: end.text.String()}
	}
	for x.heir != 0 && x.heir != last.serial { // the next call of find takes one step
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

func init() {
	seam.Inherit = func(users any, session, heir uuid.UUID) {
		const version = 0xF << 12 // no session of this manager has this serial
		users.(*Manager).ended.inherit(serialOf(session), serialOf(heir)|version)
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

// The functions below are called with e.mu held.

func (e *endedSessions) len() int                   { return int(e.next - e.first) }
func (e *endedSessions) at(n uint32) *endedSession  { return &e.ring[n%uint32(len(e.ring))] }
func (e *endedSessions) now() uint32                { return uint32(time.Since(e.began) / endedStep) }
func (e *endedSessions) isOld(x *endedSession) bool { return e.age(x) >= e.keep }

func (e *endedSessions) age(x *endedSession) time.Duration {
	return time.Duration(e.now()-x.at) * endedStep
}

// get returns the session with the serial; nil when it is not remembered.
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

// forgetOld is called by the timer.
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
	e.timer.Reset(max(e.keep-e.age(e.at(e.first)), e.keep/60)) // not for each session separately
}

// resize makes room for size sessions. It makes a new map, because a map never shrinks.
func (e *endedSessions) resize(size int) {
	ring, bySer := make([]endedSession, size), make(map[uint64]uint32, size)
	for n := e.first; n != e.next; n++ {
		x := e.at(n)
		ring[n%uint32(size)] = *x
		bySer[x.serial] = n
	}
	e.ring, e.bySer = ring, bySer
}

// share returns the endedText that all sessions with this text share.
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

// String returns the text; "" for nil.
func (t *endedText) String() string {
	if t == nil {
		return ""
	}
	return t.text
}
