#ifndef ANYLLM_TEST_CMOCKA_ALL_H
#define ANYLLM_TEST_CMOCKA_ALL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
