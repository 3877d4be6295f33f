//: hi 3
//: fib 6765
print("hi " + (1+2) + "\n");
function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2) }
print("fib " + fib(20) + "\n");
