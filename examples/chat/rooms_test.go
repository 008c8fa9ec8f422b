package main

import (
	"strings"
	"testing"
)

// What a room is called can be typed, and means that room.
func TestALabelOfARoomFindsIt(t *testing.T) {
	var r rooms
	const climbing, tea, number, again = 119635494927683328, 119635494927683329, 119635494927683330, 119635494927683331
	r.learn(climbing, "climbing")
	r.learn(tea, "Tea at  five")
	r.learn(number, "42")
	check := func(want map[uint64]string) {
		t.Helper()
		for id, label := range want {
			if got := r.label(id); got != label {
				t.Errorf("room %d is called %s, want %s", id, got, label)
			}
			if one, err := r.find(label); err != nil || one.id != id {
				t.Errorf("%s finds %+v, %v", label, one, err)
			}
		}
	}
	check(map[uint64]string{climbing: "#climbing", tea: "#Tea-at-five", number: "#3"})
	for word, id := range map[string]uint64{"CLIMBING": climbing, "tea-at-five": tea, "2": tea, "#119635494927683330": number, "7": 7} {
		if one, err := r.find(word); err != nil || one.id != id {
			t.Errorf("%s finds %+v, %v", word, one, err)
		}
	}

	r.learn(again, "Climbing") // now the name is two rooms'
	check(map[uint64]string{climbing: "#1", tea: "#Tea-at-five", again: "#4"})
	if _, err := r.find("climbing"); err == nil || !strings.Contains(err.Error(), "say #1 or #4") {
		t.Errorf("a name that two rooms have: %v", err)
	}
	r.learn(again, "bouldering")
	check(map[uint64]string{climbing: "#climbing", again: "#bouldering"})
	for _, word := range []string{"", "#", "nowhere"} {
		if one, err := r.find(word); err == nil {
			t.Errorf("%q finds %+v", word, one)
		}
	}
}
