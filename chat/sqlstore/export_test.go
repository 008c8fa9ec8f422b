package sqlstore

// Draw has the numbers of new pairs drawn by a function until the test calls back.
func Draw(number func() int64) (back func()) {
	before := newNumber
	newNumber = number
	return func() { newNumber = before }
}
