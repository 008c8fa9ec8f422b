package presence

import (
	"iter"
	"slices"
)

// number stands for a user whom a watcher knows as not Offline; 0 for none. What watchers know are many pairs: a map of numbers is small, and
// has no pointers for the collector to follow.
type number uint32

// numbers gives users their numbers.
type numbers struct {
	of    map[string]number
	users []numbered
	free  []number
}

type numbered struct {
	id      string
	knowers uint32 // how many watchers know the user; with the last of them the number is free
}

func newNumbers() numbers { return numbers{of: make(map[string]number), users: make([]numbered, 1)} }

// take returns a user's number, which it gives if there is none.
func (a *numbers) take(id string) number {
	n := a.of[id]
	if n == 0 {
		if last := len(a.free) - 1; last >= 0 {
			n, a.free = a.free[last], a.free[:last]
		} else {
			n, a.users = number(len(a.users)), append(a.users, numbered{})
		}
		a.users[n].id, a.of[id] = id, n
	}
	return n
}

func (a *numbers) forgotten(n number) {
	u := &a.users[n]
	if u.knowers--; u.knowers == 0 {
		delete(a.of, u.id)
		u.id, a.free = "", append(a.free, n)
	}
	if len(a.of) == 0 { // after many, they would stay large
		*a = newNumbers()
	}
}

// knowledge is what a watcher's sessions know: the users who are not Offline.
type knowledge struct {
	numbers *numbers
	states  map[number]State
}

// knownBy returns what a watcher knows at first: nothing. room is for how many users.
func (a *numbers) knownBy(room int) knowledge { return knowledge{a, make(map[number]State, room)} }

func (k *knowledge) of(id string) State { return k.at(k.numbers.of[id]) }

func (k *knowledge) at(n number) State {
	if s, ok := k.states[n]; ok {
		return s
	}
	return Offline
}

// learn notes a user's state. n has come from take, unless the user is Offline.
func (k *knowledge) learn(n number, s State) {
	before := len(k.states)
	if s == Offline {
		if delete(k.states, n); len(k.states) < before {
			k.numbers.forgotten(n)
		}
		return
	}
	if k.states[n] = s; len(k.states) > before {
		k.numbers.users[n].knowers++
	}
}

// learnOf is learn for a user's ID.
func (k *knowledge) learnOf(id string, s State) {
	if s == Offline {
		k.learn(k.numbers.of[id], s)
	} else {
		k.learn(k.numbers.take(id), s)
	}
}

// ids yields the users.
func (k *knowledge) ids() iter.Seq[string] {
	return func(yield func(string) bool) {
		for n := range k.states {
			if !yield(k.numbers.users[n].id) {
				return
			}
		}
	}
}

// sorted returns the users in order.
func (k *knowledge) sorted() []string { return slices.Sorted(k.ids()) }

// forget is called when the watcher has gone.
func (k *knowledge) forget() {
	for n := range k.states {
		k.numbers.forgotten(n)
	}
	k.states = nil
}
