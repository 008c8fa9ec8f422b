package main

import "slices"

// scenarios returns all scenarios.
func scenarios() []scenario {
	return slices.Concat(returnScenarios, beatScenarios, tokenScenarios, frameScenarios, limitScenarios, logonScenarios, requestScenarios, userScenarios,
		pushScenarios, onlineScenarios, closeScenarios, tlsScenarios, webScenarios, realScenarios)
}

// The headings of docs/protocol.md under which clients have rules.
const (
	framesHeading    = "Frames"
	stringMapHeading = "String map"
	codeHeading      = "Code and text"
	startHeading     = "A connection from start to end"
	systemHeading    = "System messages"
	requestHeading   = "Requests, replies and errors"
	usersHeading     = "Messages between users"
	pushHeading      = "Pushes"
	onlineHeading    = "Who is online"
	beatHeading      = "Heartbeat"
	tokenHeading     = "Tokens that expire"
	closeHeading     = "Closing, and coming back"
	limitsHeading    = "Limits"
	codesHeading     = "Codes"
	webHeading       = "WebSocket"
)
