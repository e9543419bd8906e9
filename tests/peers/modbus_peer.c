/* A foreign Modbus peer for the contract tests, on libmodbus: register map v1 as a plain area of holding registers.
 *
 *   modbus_peer server tcp PORT          modbus_peer server rtu DEVICE BAUD
 *   modbus_peer client tcp PORT          modbus_peer client rtu DEVICE BAUD
 *
 * The server fills every register with its own offset, says "ready" and serves until standard input ends. PORT 0 takes a
 * free one, which it says. The client does what standard input says, a line each, and answers with a line each:
 *   r OFFSET COUNT | w OFFSET VALUE... | x READ_OFFSET READ_COUNT WRITE_OFFSET VALUE...
 */
#include <errno.h>
#include <modbus.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <unistd.h>

enum { REGISTERS = 20000, UNIT = 1, LINE = 2048, MOST = 125 };

static int fail(const char *what)
{
    fprintf(stderr, "modbus_peer: %s: %s\n", what, modbus_strerror(errno));
    return EXIT_FAILURE;
}

static modbus_t *context(char **argv, int argc)
{
    modbus_t *ctx;
    if (strcmp(argv[2], "tcp") == 0)
        ctx = modbus_new_tcp("127.0.0.1", atoi(argv[3]));
    else
        ctx = argc > 4 ? modbus_new_rtu(argv[3], atoi(argv[4]), 'N', 8, 2) : NULL;
    if (ctx != NULL)
        modbus_set_slave(ctx, UNIT);
    return ctx;
}

/* True while standard input is open; waits until the line or standard input has something. */
static int awake(int fd)
{
    struct pollfd watched[2] = {{.fd = fd, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
    return poll(watched, 2, -1) > 0 && watched[1].revents == 0;
}

static void say_port(int listener)
{
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("ready %d\n", ntohs(address.sin_port));
    fflush(stdout);
}

static int answer_one(modbus_t *ctx, modbus_mapping_t *map)
{
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    int length = modbus_receive(ctx, query);
    if (length > 0)
        modbus_reply(ctx, query, length, map);
    return length;
}

static int serve_tcp(modbus_t *ctx, modbus_mapping_t *map)
{
    int listener = modbus_tcp_listen(ctx, 1);
    if (listener < 0)
        return fail("listen");
    say_port(listener);
    while (awake(listener)) {
        if (modbus_tcp_accept(ctx, &listener) < 0)
            return fail("accept");
        while (awake(modbus_get_socket(ctx)))
            if (answer_one(ctx, map) < 0)
                break;
        modbus_close(ctx);
    }
    close(listener);
    return EXIT_SUCCESS;
}

static int serve_rtu(modbus_t *ctx, modbus_mapping_t *map)
{
    if (modbus_connect(ctx) < 0)
        return fail("open");
    printf("ready 0\n");
    fflush(stdout);
    while (awake(modbus_get_socket(ctx)))
        answer_one(ctx, map);
    modbus_close(ctx);
    return EXIT_SUCCESS;
}

static int serve(modbus_t *ctx, int tcp)
{
    modbus_mapping_t *map = modbus_mapping_new(0, 0, REGISTERS, 0);
    int status;
    if (map == NULL)
        return fail("memory");
    for (int i = 0; i < REGISTERS; i++)
        map->tab_registers[i] = (uint16_t)i;
    status = tcp ? serve_tcp(ctx, map) : serve_rtu(ctx, map);
    modbus_mapping_free(map);
    return status;
}

static int numbers(char *text, int *found)
{
    int count = 0;
    for (char *word = strtok(text, " \n"); word != NULL && count < MOST + 3; word = strtok(NULL, " \n"))
        found[count++] = atoi(word);
    return count;
}

static void say(int result, const uint16_t *words, int count)
{
    if (result < 0)
        printf("error %s", modbus_strerror(errno));
    else
        printf("ok");
    for (int i = 0; result >= 0 && i < count; i++)
        printf(" %u", words[i]);
    printf("\n");
    fflush(stdout);
}

static void obey(modbus_t *ctx, char *line)
{
    int n[MOST + 3] = {0}, count = numbers(line + 1, n);
    uint16_t in[MOST] = {0}, out[MOST] = {0};
    if (line[0] == 'r') {
        say(modbus_read_registers(ctx, n[0], n[1], in), in, n[1]);
    } else if (line[0] == 'w') {
        for (int i = 1; i < count; i++)
            out[i - 1] = (uint16_t)n[i];
        say(modbus_write_registers(ctx, n[0], count - 1, out), in, 0);
    } else {
        for (int i = 3; i < count; i++)
            out[i - 3] = (uint16_t)n[i];
        say(modbus_write_and_read_registers(ctx, n[2], count - 3, out, n[0], n[1], in), in, n[1]);
    }
}

static int ask(modbus_t *ctx)
{
    char line[LINE];
    modbus_set_response_timeout(ctx, 5, 0);
    if (modbus_connect(ctx) < 0)
        return fail("connect");
    while (fgets(line, sizeof line, stdin) != NULL)
        obey(ctx, line);
    modbus_close(ctx);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    modbus_t *ctx = argc > 3 ? context(argv, argc) : NULL;
    int status;
    if (ctx == NULL) {
        fprintf(stderr, "usage: modbus_peer server|client tcp PORT|rtu DEVICE BAUD\n");
        return EXIT_FAILURE;
    }
    status = strcmp(argv[1], "server") == 0 ? serve(ctx, strcmp(argv[2], "tcp") == 0) : ask(ctx);
    modbus_free(ctx);
    return status;
}
