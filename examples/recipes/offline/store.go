package main

import (
	"encoding/json"
	"errors"
	"io"
	"log"
	"os"
	"sync"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/protocol"
)

// letter is a line of the store. One with Read says that the letter of its ID has been read.
type letter struct {
	ID       uuid.UUID
	From, To string `json:",omitempty"`
	Body     []byte `json:",omitempty"`
	Read     bool   `json:",omitempty"`
}

// store is a file that only grows; a real one is a database.
type store struct {
	mu     sync.Mutex
	file   *os.File
	unread map[string]int // by user ID
}

// openStore returns the letters that have not been read, in order.
func openStore(name string) (*store, []letter, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, err
	}
	var letters []letter
	read := make(map[uuid.UUID]bool)
	in := json.NewDecoder(f)
	for {
		var l letter
		if err = in.Decode(&l); err != nil {
			break
		}
		if read[l.ID] = l.Read; !l.Read {
			letters = append(letters, l)
		}
	}
	if err != io.EOF && err != io.ErrUnexpectedEOF { // the server died while it wrote a line: no sender was told that it is kept
		return nil, nil, err
	}
	_, seek := f.Seek(in.InputOffset(), io.SeekStart)
	if err = errors.Join(f.Truncate(in.InputOffset()), seek); err != nil {
		return nil, nil, err
	}
	s := &store{file: f, unread: make(map[string]int)}
	var unread []letter
	for _, l := range letters {
		if !read[l.ID] {
			unread = append(unread, l)
			s.unread[l.To]++
		}
	}
	return s, unread, nil
}

// add writes a letter to the disk, then calls send. The lock is held for both, so that they have one order.
func (s *store) add(l letter, send func()) error {
	if err := protocol.CheckUserID(l.To); err != nil {
		return protocol.Errorf(protocol.Refused, "%v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(l.Body) > maxLetter || s.unread[l.To] >= maxUnread {
		return protocol.Errorf(protocol.Refused, "the letter is too long, or too many wait for %s", l.To)
	}
	if err := errors.Join(s.write(l), s.file.Sync()); err != nil {
		return err
	}
	s.unread[l.To]++
	send()
	return nil
}

// remove notes that a letter has been read. Without Sync: where the note is lost the letter is sent again, and dropped.
func (s *store) remove(l letter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unread[l.To]--
	if err := s.write(letter{ID: l.ID, Read: true}); err != nil {
		log.Print(err)
	}
}

func (s *store) write(l letter) error {
	b, err := json.Marshal(l)
	if err == nil {
		_, err = s.file.Write(append(b, '\n'))
	}
	return err
}
