package usermgr_test

import (
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/rollcall-go/rollcall/internal/contract"
	"github.com/rollcall-go/rollcall/usermgr"
)

const (
	modelPhases  = 3  // after each, everything comes to rest
	modelScripts = 3  // goroutines that run at the same time
	modelScript  = 16 // steps of each
	modelSteps   = modelPhases * modelScripts * modelScript
	modelUsers   = 3
)

// program is what a case does. Nothing else in it is random, but for the scheduler.
type program struct {
	Relogon    usermgr.RelogonMode
	Policy     contract.Policy
	Grace      time.Duration // 0 for none
	Idle       time.Duration // 0 for never
	ReturnWins bool
	Claims     bool          // the manager has some, which are granted at once
	Phases     [][][]step    // of scripts, which run at the same time
	Behaviours []action      // of handlers, who are dealt one each
	CloseAfter time.Duration // Close comes so long after the beginning of the last phase; 0: after its end
}

// step is one thing that happens from outside.
type step struct {
	Do   action
	User int
	Pick int // which of several: connections, variants
	Wait time.Duration
}

// action is what a step or a handler does.
type action string

const (
	// Of steps alone.
	doLogOn      action = "log on"
	doGather     action = "log on with every device"
	doLeave      action = "leave, and be thrown out"
	doTakeOver   action = "take over the latest session"
	doComeBack   action = "come back with one of the latest sessions"
	doHurry      action = "log on with a context that ends"
	doMessage    action = "message"
	doEnd        action = "end the connection"
	doSilence    action = "fall silent"
	doFalseAlarm action = "fall silent and speak"
	doPassBy     action = "a bystander comes and goes"
	doListen     action = "subscribe for a moment"
	doBeat       action = "heartbeat"
	doWaitLong   action = "wait for long"
	doRelease    action = "release"

	// Of steps and handlers.
	doWait        action = "wait"
	doLook        action = "look"
	doTouch       action = "touch"
	doTag         action = "tag"
	doEndUser     action = "end the user"
	doEndSession  action = "end the session"
	doEndAddress  action = "end the session at an address"
	doUnban       action = "unban the user"
	doKickUser    action = "kick the user"
	doKickDevice  action = "kick a device"
	doKickSession action = "kick the session"
	doClear       action = "clear"

	// Of handlers alone.
	doNothing  action = "nothing"
	doHold     action = "hold up"
	doPanic    action = "panic"
	doEndOther action = "end another user"
	doEndOwn   action = "end the own connection"
	doSend     action = "send"
)

// weight says how often an action is drawn, against the others.
type weight struct {
	do    action
	times int
}

// drawn draws actions by their weights. The heaviest come first, since rapid likes the front of a list best.
func drawn(weights ...weight) *rapid.Generator[action] {
	heaviest := slices.MaxFunc(weights, func(a, b weight) int { return a.times - b.times })
	var all []action
	for level := heaviest.times; level > 0; level-- {
		for _, w := range weights {
			if w.times >= level {
				all = append(all, w.do)
			}
		}
	}
	return rapid.SampledFrom(all)
}

var (
	stepActions = drawn(
		weight{doLogOn, 14}, weight{doGather, 4}, weight{doLeave, 4}, weight{doTakeOver, 6}, weight{doComeBack, 8}, weight{doHurry, 6},
		weight{doMessage, 16}, weight{doEnd, 10}, weight{doSilence, 5}, weight{doFalseAlarm, 4}, weight{doPassBy, 3},
		weight{doListen, 1}, weight{doRelease, 3}, weight{doWait, 14}, weight{doWaitLong, 3}, weight{doLook, 6},
		weight{doBeat, 3}, weight{doTouch, 2}, weight{doTag, 4}, weight{doEndUser, 2}, weight{doEndSession, 2},
		weight{doEndAddress, 2}, weight{doKickUser, 4}, weight{doKickDevice, 2}, weight{doKickSession, 2}, weight{doUnban, 2}, weight{doClear, 1})
	behaviourActions = drawn(
		weight{doNothing, 12}, weight{doWait, 10}, weight{doHold, 3}, weight{doPanic, 2}, weight{doLook, 3},
		weight{doTouch, 2}, weight{doTag, 2}, weight{doEndUser, 1}, weight{doEndSession, 1}, weight{doEndAddress, 1},
		weight{doKickUser, 1}, weight{doKickDevice, 1}, weight{doKickSession, 1}, weight{doEndOther, 2},
		weight{doEndOwn, 2}, weight{doSend, 3}, weight{doClear, 1})
	// The first, one session a user, is drawn most often.
	policies = rapid.SampledFrom([]contract.Policy{{}, {}, {OnePerClass: true}, {Max: 1}, {Max: 2},
		{Max: 3}, {OnePerClass: true, Pairs: [][2]uint16{{1, 2}, {2, 3}}},
		{OnePerClass: true, Pairs: [][2]uint16{{0, 3}, {1, 3}, {2, 3}}}, {OnePerClass: true, Max: 2}, {OnePerClass: true, Known: []uint16{0, 1, 2}}})
	graces = rapid.SampledFrom([]time.Duration{0, 20 * time.Millisecond, 400 * time.Millisecond})
	idles  = rapid.SampledFrom([]time.Duration{0, 0, 250 * time.Millisecond})

	anyUser = rapid.IntRange(0, modelUsers-1)
	anyPick = rapid.IntRange(0, 31)
	anyWait = rapid.IntRange(0, 40)
)

func drawProgram(t *rapid.T, mode usermgr.RelogonMode) *program {
	p := &program{Relogon: mode, Policy: policies.Draw(t, "policy"), Grace: graces.Draw(t, "grace"),
		Idle: idles.Draw(t, "idle"), ReturnWins: anyPick.Draw(t, "return wins")%4 == 3, Claims: anyPick.Draw(t, "claims")%2 == 1,
		CloseAfter: 500 * time.Microsecond * time.Duration(anyWait.Draw(t, "close after"))}
	for range 24 {
		p.Behaviours = append(p.Behaviours, behaviourActions.Draw(t, "behaviour"))
	}
	for range modelPhases {
		var phase [][]step
		for range modelScripts {
			var script []step
			for range modelScript {
				script = append(script, step{Do: stepActions.Draw(t, "do"), User: anyUser.Draw(t, "user"),
					Pick: anyPick.Draw(t, "pick"), Wait: time.Duration(anyWait.Draw(t, "wait")) * 500 * time.Microsecond})
			}
			phase = append(phase, script)
		}
		p.Phases = append(p.Phases, phase)
	}
	return p
}

func (s step) user() string { return string(rune('a' + s.User)) }

func (s step) manner() manner {
	switch {
	case s.Pick == 13:
		return quiesceNever
	case s.Pick%4 == 2:
		return quiesceLater
	}
	return quiesceAtOnce
}
