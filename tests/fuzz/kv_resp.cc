/* A client's bytes, from the socket to the state: parsed in pieces, checked, encoded for the log,
 * applied or read. The first byte says how large the pieces are. */
#include "apps/kv/command.h"
#include "apps/kv/machine.h"
#include "apps/kv/resp.h"
#include "tests/fuzz/target.h"

#include <string>

namespace
{

const uint32_t request_bytes_max = 4096;

using fuzz::require;

void *room(void *context, uint32_t bytes)
{
    auto *reply = static_cast<std::string *>(context);
    if (bytes > 65536)
        return nullptr;
    reply->assign(bytes, '?');
    return &(*reply)[0];
}

/* Executes one request as the server would, with the group in between left out. */
void execute(kv_machine *machine, const kv_resp &resp, const uint8_t *data)
{
    char text[400];
    const kv_arg &name = resp.args[0];
    kv_request request = {};
    request.command = kv_command_find(data + name.offset, name.bytes);
    request.bytes = data;
    request.args = resp.args;
    request.arg_count = resp.arg_count;
    request.value_bytes_max = request_bytes_max;
    request.store_limit = 1;
    if (request.command == nullptr) {
        kv_command_unknown(data, resp.args, resp.arg_count, text, sizeof(text));
        return;
    }
    if (kv_request_prepare(&request, text, sizeof(text)) != nullptr ||
        request.command->kind == KV_KIND_LOCAL)
        return;
    std::vector<uint8_t> wire(kv_request_wire_bytes(&request));
    kv_request_encode(&request, wire.data());
    std::string reply;
    if (request.command->kind == KV_KIND_WRITE)
        kv_machine_apply(machine, wire.data(), uint32_t(wire.size()), room, &reply);
    else
        kv_machine_read(machine, wire.data(), uint32_t(wire.size()), room, &reply);
    require(reply.size() >= 3 && reply.compare(reply.size() - 2, 2, "\r\n") == 0, "it is answered");
    require(machine->invalid_count == 0, "what was checked is a command");
    require(machine->store.charged_bytes <= 65536, "the store keeps its limit");
}

/* The parser. The planted bug counts a line's end that is not there. */
kv_resp_result parse(kv_resp *resp, std::vector<uint8_t> *held, size_t *consumed)
{
    kv_resp_result result = kv_resp_parse(resp, held->data(), held->size(), consumed);
    if (fuzz::planted() && result == KV_RESP_EMPTY)
        *consumed += 2;
    return result;
}

/* Takes all whole requests off the front. Returns false when the stream is not the protocol. */
bool take_requests(kv_machine *machine, kv_resp *resp, std::vector<uint8_t> *held)
{
    for (;;) {
        size_t consumed = 0;
        kv_resp_result result = parse(resp, held, &consumed);
        require(consumed <= held->size(), "no more is consumed than there is");
        if (result == KV_RESP_REQUEST)
            execute(machine, *resp, held->data());
        if (result == KV_RESP_BAD)
            return false;
        held->erase(held->begin(), held->begin() + long(consumed));
        if (result == KV_RESP_MORE)
            return true;
        require(consumed > 0, "a request has bytes");
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0)
        return 0;
    size_t piece_bytes = size_t(data[0]) + 1;
    kv_machine machine;
    kv_resp resp;
    std::vector<uint8_t> held;
    held.reserve(1);
    kv_machine_init(&machine);
    kv_resp_init(&resp, request_bytes_max, 64);
    for (size_t at = 1; at < bytes; at += piece_bytes) {
        size_t end = at + piece_bytes < bytes ? at + piece_bytes : bytes;
        held.insert(held.end(), data + at, data + end);
        if (!take_requests(&machine, &resp, &held))
            break;
        require(held.size() <= KV_RESP_LINE_BYTES_MAX + request_bytes_max + 512,
                "what is held is bounded");
    }
    kv_resp_release(&resp);
    kv_machine_release(&machine);
    return 0;
}
