//go:build race

package usermgr_test

func init() { stepsInAll /= 8 } // it takes eight times as long
