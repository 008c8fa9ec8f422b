//go:build race

package usermgr_test

func init() { stepsInAll /= 4 } // it takes eight times as long
