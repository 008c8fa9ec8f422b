package main

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// room is a group as this terminal names it. Groups have long numbers, and names of which two may be the same: so a room has a short number
// too, which is this terminal's own.
type room struct {
	number int // from 1, in the order in which this terminal has come to know them; 0 for one that it does not know
	id     uint64
	name   string
}

// rooms are those that this terminal knows.
type rooms struct {
	mu   sync.Mutex
	list []room
}

// learn takes in a room, or its new name.
func (r *rooms) learn(id uint64, name string) room {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.list {
		if one := &r.list[i]; one.id == id {
			if name != "" {
				one.name = name
			}
			return *one
		}
	}
	one := room{len(r.list) + 1, id, name}
	r.list = append(r.list, one)
	return one
}

// known returns a room by its ID, if it is known by its name.
func (r *rooms) known(id uint64) (room, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.list {
		if one.id == id {
			return one, one.name != ""
		}
	}
	return room{}, false
}

// label returns what a person can type for a room: # and its name if that is one word and no other room's, otherwise # and its number.
func (r *rooms) label(id uint64) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	label := "#" + strconv.FormatUint(id, 10)
	for _, one := range r.list {
		if one.id != id {
			continue
		}
		label = "#" + strconv.Itoa(one.number)
		if word := handle(one.name); word != "" && len(r.named(word)) == 1 {
			label = "#" + word
		}
	}
	return label
}

// find returns the room that a person means: by number, name or ID, with # or without.
func (r *rooms) find(word string) (room, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	word = strings.TrimPrefix(word, "#")
	if word == "" {
		return room{}, fmt.Errorf("which room? /rooms tells their numbers and names")
	}
	if n, err := strconv.ParseUint(word, 10, 63); err == nil {
		if n >= 1 && n <= uint64(len(r.list)) {
			return r.list[n-1], nil
		}
		for _, one := range r.list {
			if one.id == n {
				return one, nil
			}
		}
		return room{id: n}, nil
	}
	switch found := r.named(word); len(found) {
	case 0:
		return room{}, fmt.Errorf("you know no room %s; /rooms tells which there are", word)
	case 1:
		return found[0], nil
	default:
		return room{}, fmt.Errorf("there are %d rooms %s; say #%d or #%d", len(found), word, found[0].number, found[1].number)
	}
}

// named returns the rooms of a name. The caller has the lock.
func (r *rooms) named(word string) (found []room) {
	for _, one := range r.list {
		if strings.EqualFold(handle(one.name), word) {
			found = append(found, one)
		}
	}
	return found
}

// handle returns a room's name as one word; "" if it would be taken for a number.
func handle(name string) string {
	word := strings.Join(strings.Fields(name), "-")
	if _, err := strconv.ParseUint(word, 10, 64); err == nil {
		return ""
	}
	return word
}
