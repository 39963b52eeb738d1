package plan

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseMax reads how many of n pods may be unavailable: a number, or a percentage, which is rounded down as a
// Deployment's maxUnavailable is, but to 1 at least: with none there would be no roll.
func ParseMax(text string, n int) (int, error) {
	number, percent := strings.CutSuffix(text, "%")
	value, err := strconv.Atoi(number)
	switch {
	case err != nil || value < 1:
		return 0, fmt.Errorf("%q is neither a number from 1 on nor a percentage from 1%% on", text)
	case percent && value > 100:
		return 0, fmt.Errorf("%s is more than 100%%", text)
	case percent:
		return max(value*n/100, 1), nil
	}
	return value, nil
}
