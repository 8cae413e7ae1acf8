// The bounce handlers: where an old-style svc continues. What each is entered with: vdso_image/image.py.
//
// A handler may change nothing but x8, and every one of its instructions has a rule that leads an unwinder back to
// the program. The return address is in column 17, x17's own: the column of x30 would make the caller's live link
// register the return address, and there is no column that every unwinder knows and no program uses. What x17 held in
// the caller is lost to an unwinder (never to the program).

    .align 16
    .func __kernel_bounce UABI_1
    .handler redirect
    .restart redirect
    .cfi cfa=*(sp+8) x17=*(sp+16) pc=*(sp+16) x8=*(sp)
    orr w8, w8, #REDIRECT           // the call as it was made, and the flag that ends the bounce with it
    svc #0                          // the kernel takes the frame off, then makes the call for the program
    .commit
    brk #BROKEN                     // nothing comes back here
    .endfunc

    .align 16
    .func __kernel_bounce_task_page UABI_1
    .handler task-page
    .restart task-page
    .cfi cfa=*(x8>>32<<16+8) x17=*(x8>>32<<16+16) pc=*(x8>>32<<16+16) x8=*(x8>>32<<16)
    orr x8, x8, #REDIRECT           // all 64 bits of x8: the upper half says where the frame is
    svc #0                          // the kernel takes the frame from the task's page
    .commit
    brk #BROKEN                     // nothing comes back here
    .endfunc

// For a handler that has made no real call, or only plain ones: the result is in x0, the frame at SP.
    .align 16
    .func __kernel_bounce_return UABI_1
    .cfi cfa=*(sp+8) x17=*(sp+16) pc=*(sp+16) x8=*(sp)
    mov w8, #NO_CALL                // a number that stands for no call at all
    svc #0                          // the frame is taken off, and x0 stays
    brk #BROKEN                     // nothing comes back here
    .endfunc

// The same with the frame in the task's page: its address is in the upper half of x8.
    .align 16
    .func __kernel_bounce_return_task_page UABI_1
    .cfi cfa=*(x8>>32<<16+8) x17=*(x8>>32<<16+16) pc=*(x8>>32<<16+16) x8=*(x8>>32<<16)
    and x8, x8, #0xffffffff00000000 // the number goes, the frame's address stays
    orr x8, x8, #NO_CALL            // no call at all
    svc #0                          // the frame is taken from the task's page, and x0 stays
    brk #BROKEN                     // nothing comes back here
    .endfunc
