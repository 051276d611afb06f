#include "fake_library.h"

#include <algorithm>

namespace
{

/* The reply of one command. */
struct reply_room {
    std::string bytes;
    uint32_t bytes_max;
};

void *make_room(void *context, uint32_t bytes)
{
    auto *room = static_cast<reply_room *>(context);
    if (bytes > room->bytes_max)
        return nullptr;
    room->bytes.assign(bytes, '?');
    return &room->bytes[0];
}

int submit(tr_session *session, const std::string &data, void *user, bool is_read)
{
    tr_group *group = session->group;
    if (group->submit_status != 0)
        return group->submit_status;
    if (group->work.size() >= group->room || group->work.size() >= session->options.window)
        return TR_AGAIN;
    group->work.push_back({data, user, is_read, session});
    return 0;
}

void finish(tr_group *group, const fake_work &work)
{
    reply_room room = {"", group->reply_bytes_max};
    int status = group->fail_status;
    if (status == 0 && work.is_read) {
        group->reads++;
        kv_machine_read(&group->machine, work.data.data(), uint32_t(work.data.size()), make_room,
                        &room);
    } else if (status == 0) {
        group->applied++;
        kv_machine_apply(&group->machine, work.data.data(), uint32_t(work.data.size()), make_room,
                         &room);
        kv_machine_show(&group->machine);
    }
    tr_session *session = work.session;
    tr_completion completion = {};
    completion.user = work.user;
    completion.status = status;
    completion.reply_bytes = uint32_t(room.bytes.size());
    if (session->options.on_complete != nullptr) {
        completion.reply = room.bytes.data();
        session->options.on_complete(session->options.on_complete_context, &completion);
        return;
    }
    session->replies.push_back(room.bytes);
    completion.reply = session->replies.back().data();
    session->ready.push_back(completion);
}

} // namespace

tr_group::tr_group()
{
    kv_machine_init(&machine);
}

tr_group::~tr_group()
{
    kv_machine_release(&machine);
}

void tr_group::advance()
{
    if (held)
        return;
    if (reads_first)
        std::stable_partition(work.begin(), work.end(),
                              [](const fake_work &one) { return one.is_read; });
    while (!work.empty()) {
        fake_work one = work.front();
        work.pop_front();
        if (!one.session->closed)
            finish(this, one);
    }
}

extern "C" {

int tr_session_open(tr_group *group, const tr_session_options *options, tr_session **out)
{
    *out = new tr_session{*options, group, {}, {}, {}, false};
    group->sessions++;
    return 0;
}

void tr_session_close(tr_session *session)
{
    auto &work = session->group->work;
    work.erase(std::remove_if(work.begin(), work.end(),
                              [session](const fake_work &one) { return one.session == session; }),
               work.end());
    delete session;
}

void *tr_submit_reserve(tr_session *session, uint32_t bytes, int *status)
{
    tr_group *group = session->group;
    *status = group->submit_status;
    if (*status == 0 && group->work.size() >= group->room)
        *status = TR_AGAIN;
    if (*status != 0)
        return nullptr;
    session->reserved.assign(bytes, '?');
    return &session->reserved[0];
}

void tr_submit_commit(tr_session *session, uint32_t bytes, void *user)
{
    submit(session, session->reserved.substr(0, bytes), user, false);
}

int tr_read(tr_session *session, const void *query, uint32_t bytes, void *user)
{
    return submit(session, std::string(static_cast<const char *>(query), bytes), user, true);
}

int tr_read_local(tr_session *session, const void *query, uint32_t bytes, void *user)
{
    return tr_read(session, query, bytes, user);
}

uint32_t tr_session_poll(tr_session *session, tr_completion *out, uint32_t max)
{
    uint32_t count = 0;
    while (session->replies.size() > session->ready.size())
        session->replies.pop_front(); /* those of the last call */
    while (count < max && !session->ready.empty()) {
        out[count++] = session->ready.front();
        session->ready.pop_front();
    }
    return count;
}

void tr_group_status(const tr_group *, struct tr_group_status *out)
{
    *out = {};
    out->role = TR_ROLE_LEADER;
    out->leader = 1;
}

const char *tr_version(void)
{
    return "fake";
}

void *tr_replies_reserve(tr_replies *, uint32_t, uint32_t)
{
    return nullptr;
}

void *tr_reply_reserve(tr_reply *, uint32_t)
{
    return nullptr;
}

int tr_writer_put(tr_writer *, const void *, size_t)
{
    return TR_EFULL;
}

int tr_reader_get(tr_reader *, void *, size_t)
{
    return TR_EPROTO;
}

} // extern "C"
