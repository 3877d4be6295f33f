//! The Squirrel language as the imp dialect has it: compiler, virtual machine, budgets, standard library
