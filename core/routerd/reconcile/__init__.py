"""Intent to difference to change: `derive`, `diff`, `order`, `retry` and `admit` are pure; `loop` acts."""
