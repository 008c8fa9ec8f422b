package cluster

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"github.com/google/uuid"
)

// entry is a session in its user's record, from its claim to its release. In the record it takes 21 bytes and what the flags tell, big endian:
//
//	4 B incarnation, 16 B session, 1 B flags, the device as an unsigned varint, 7 B generation, 6 B of the token's digest, the past
//
// Device 0 and a missing token take no bytes. The generation takes none while it is the record's version. A session that replaced others has up to 25
// bytes more: see past.
type entry struct {
	node       Incarnation
	session    uuid.UUID
	device     uint16
	ending     bool    // a later entry excludes it
	first      bool    // the record had no other entry of a node that lives: its node tells Online, unless it dies before
	taken      bool    // it is first, and another node tells Online too, or was to: so if its claim fails, Offline is owed
	grace      bool    // the session has ended, and its user counts as online for a while: it excludes nothing, and a claim takes it away
	generation Version // left out of the record while it is the record's version, which its writer cannot know
	token      [6]byte // of the token's digest; zero for a login without a token
	past       past    // the sessions before it
}

const (
	flagEnding = 1 << iota
	flagToken
	flagGrace
	flagFirst
	flagDevice
	flagGeneration
	flagTaken // versions that do not know it leave it out where they write the record anew
	flagPast
)

const (
	entrySize      = 4 + 16 + 1
	generationSize = 7 // versions are below 1<<53
)

// A later version may use the flags that are free, and must otherwise write what this version can read, until no node of this version is left: a
// record that none of the nodes can read is written anew (mend.go).

var errBadRecord = errors.New("rollcall: a record in the cluster's store is malformed")

// tokenDigest returns what a record has of a token.
func tokenDigest(user, token string) (d [6]byte) {
	if token == "" {
		return d
	}
	sum := sha256.Sum256([]byte(user + "\x00" + token))
	copy(d[:], sum[:])
	return d
}

func (e *entry) hasToken() bool { return e.token != [6]byte{} }

// takeFirst notes in entries that are the user's first that this node tells Online, and reports whether there were any. With the record written
// so, a claim among them that fails knows that it owes Offline.
func takeFirst(entries []entry) (taken bool) {
	for i := range entries {
		e := &entries[i]
		taken = taken || e.first && !e.taken
		e.taken = e.first
	}
	return taken
}

// encodeRecord returns a record's body: the entries, the oldest first, then the marks.
func encodeRecord(entries []entry, marks []mark) []byte {
	b := make([]byte, 0, len(entries)*(entrySize+2*generationSize)+len(marks)*markSize)
	for i := range entries {
		e := &entries[i]
		b = binary.BigEndian.AppendUint32(b, uint32(e.node))
		b = append(b, e.session[:]...)
		var flags byte
		if e.ending {
			flags |= flagEnding
		}
		if e.hasToken() {
			flags |= flagToken
		}
		if len(e.past) > 0 {
			flags |= flagPast
		}
		if e.grace {
			flags |= flagGrace
		}
		if e.first {
			flags |= flagFirst
		}
		if e.taken {
			flags |= flagTaken
		}
		if e.device != 0 {
			flags |= flagDevice
		}
		if e.generation != 0 {
			flags |= flagGeneration
		}
		b = append(b, flags)
		if e.device != 0 {
			b = binary.AppendUvarint(b, uint64(e.device))
		}
		if e.generation != 0 {
			b = binary.BigEndian.AppendUint64(b, uint64(e.generation)<<8)
			b = b[:len(b)-1]
		}
		if e.hasToken() {
			b = append(b, e.token[:]...)
		}
		if len(e.past) > 0 {
			b = e.past.appendTo(b)
		}
	}
	for _, m := range marks {
		b = m.appendTo(b)
	}
	return b
}

// decodeRecord returns the entries of a record, which has this version. Nothing yields no entries.
func decodeRecord(b []byte, version Version) (entries []entry, err error) {
	if entries, _, err = decodeAll(b, version); err != nil {
		return nil, err
	}
	return entries, nil
}

// decodeAll returns the entries and the marks of a record, which has this version.
func decodeAll(b []byte, version Version) (entries []entry, marks []mark, err error) {
	for len(b) > 0 {
		if b[0] == Uncounted {
			marks, err = decodeMarks(b)
			return entries, marks, err
		}
		if len(b) < entrySize {
			return nil, nil, errBadRecord
		}
		e := entry{node: Incarnation(binary.BigEndian.Uint32(b)), generation: version}
		copy(e.session[:], b[4:])
		flags := b[entrySize-1]
		b = b[entrySize:]
		e.ending, e.grace, e.first, e.taken = flags&flagEnding != 0, flags&flagGrace != 0, flags&flagFirst != 0, flags&flagTaken != 0
		if flags&flagDevice != 0 {
			device, n := binary.Uvarint(b)
			if n <= 0 || device > math.MaxUint16 {
				return nil, nil, errBadRecord
			}
			e.device, b = uint16(device), b[n:]
		}
		if flags&flagGeneration != 0 {
			var full [8]byte
			if len(b) < generationSize {
				return nil, nil, errBadRecord
			}
			b = b[copy(full[8-generationSize:], b):]
			if e.generation = Version(binary.BigEndian.Uint64(full[:])); e.generation == 0 {
				return nil, nil, errBadRecord
			}
		}
		if flags&flagToken != 0 {
			if len(b) < len(e.token) {
				return nil, nil, errBadRecord
			}
			b = b[copy(e.token[:], b):]
		}
		if flags&flagPast != 0 {
			var ok bool
			if e.past, b, ok = decodePast(b); !ok {
				return nil, nil, errBadRecord
			}
		}
		entries = append(entries, e)
	}
	return entries, nil, nil
}

// find returns the index of a session's entry; -1 where it has none.
func find(entries []entry, session uuid.UUID) int {
	return slices.IndexFunc(entries, func(e entry) bool { return e.session == session })
}
