-- Recursive calls through a global, as the Squirrel program does it.
function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end
print("fib " .. fib(32))
