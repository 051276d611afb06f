/* Datagrams, from their frames to the messages that are put together of pieces: any bytes, and
 * pieces in any order, from several senders, twice, contradicting each other. A message that is
 * handed up must consist of pieces that came. */
#include "base/bytes.h"
#include "drivers/fragment.h"
#include "tests/fuzz/target.h"
#include "trireme/error.h"

#include <deque>
#include <map>
#include <tuple>

namespace
{

const uint32_t entry_count = 3;
const uint32_t message_bytes_max = 2048;

using Bytes = std::vector<uint8_t>;
/* Source, number, bytes of the message, unit: pieces that agree in these may become one. */
using Key = std::tuple<uint64_t, uint64_t, uint32_t, uint32_t>;

/* Memory for one run. */
struct Memory {
    std::vector<void *> taken;
    tr_memory handle{this, allocate};

    ~Memory()
    {
        for (void *at : taken)
            free(at);
    }
    static void *allocate(void *context, size_t bytes, size_t align)
    {
        void *at = aligned_alloc(align, (bytes + align - 1) / align * align);
        static_cast<Memory *>(context)->taken.push_back(at);
        return at;
    }
};

/* All that ever came, naively. */
class Model
{
  public:
    void came(uint64_t source, const tr_frame &piece)
    {
        pieces_[key(source, piece)][piece.index].emplace_back(piece.data, piece.data + piece.bytes);
    }
    void completed(uint64_t source, const tr_frame &last, const tr_span &message)
    {
        fuzz::require(message.bytes == last.message_bytes, "a message is as long as it says");
        auto *data = static_cast<const uint8_t *>(message.data);
        uint32_t count = (last.message_bytes + last.unit_bytes - 1) / last.unit_bytes;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t begin = i * last.unit_bytes;
            uint32_t end = tr_min_u32(begin + last.unit_bytes, last.message_bytes);
            fuzz::require(has(key(source, last), i, Bytes(data + begin, data + end)),
                          "a message is made of pieces that came");
        }
        for (const auto &done : done_)
            fuzz::require(done != std::make_pair(source, last.message),
                          "a message is not completed twice");
        done_.emplace_back(source, last.message);
        if (done_.size() > TR_REASSEMBLY_DONE)
            done_.pop_front();
    }

  private:
    static Key key(uint64_t source, const tr_frame &piece)
    {
        return {source, piece.message, piece.message_bytes, piece.unit_bytes};
    }
    bool has(const Key &key, uint32_t index, const Bytes &bytes)
    {
        for (const Bytes &piece : pieces_[key][index])
            if (piece == bytes)
                return true;
        return false;
    }

    std::map<Key, std::map<uint32_t, std::vector<Bytes>>> pieces_;
    std::deque<std::pair<uint64_t, uint64_t>> done_;
};

/* The next frame. The planted bug believes the length that the header tells. */
tr_frame_kind next(const uint8_t *datagram, uint32_t bytes, uint32_t *at, tr_frame *frame)
{
    uint32_t left = bytes - *at;
    if (fuzz::planted() && left >= TR_FRAME_BYTES &&
        tr_load_le32(datagram + *at) == (TR_FRAME_MARK | TR_FRAME_WHOLE << 16)) {
        frame->data = datagram + *at + TR_FRAME_BYTES;
        frame->bytes = tr_load_le32(datagram + *at + 4);
        *at += tr_min_u32(tr_frame_bytes(frame->bytes), left);
        return TR_FRAME_IS_WHOLE;
    }
    return tr_frame_next(datagram, bytes, at, frame);
}

void check_piece(const tr_frame &f)
{
    uint64_t begin = uint64_t(f.index) * f.unit_bytes;
    fuzz::require(f.unit_bytes >= TR_PIECE_UNIT_MIN && f.unit_bytes % 8 == 0, "a unit is one");
    fuzz::require(begin + f.bytes <= f.message_bytes, "a piece lies inside its message");
    fuzz::require(f.bytes == f.unit_bytes || begin + f.bytes == f.message_bytes,
                  "only the last piece is shorter");
}

class Receiver
{
  public:
    Receiver()
    {
        fuzz::require(tr_reassembly_init(&reassembly_, &memory_.handle, entry_count,
                                         message_bytes_max) == TR_OK,
                      "there is memory");
    }
    void receive(uint64_t source, fuzz::Exact datagram)
    {
        uint32_t at = 0;
        for (;;) {
            tr_frame frame{};
            uint32_t before = at;
            tr_frame_kind kind = next(datagram.data(), datagram.size32(), &at, &frame);
            if (kind == TR_FRAME_IS_END || kind == TR_FRAME_IS_BAD)
                break;
            const uint8_t *end = datagram.data() + datagram.size();
            fuzz::require(at > before && at <= datagram.size(), "a frame moves on in its datagram");
            fuzz::require(frame.data <= end && frame.bytes <= size_t(end - frame.data),
                          "a frame lies inside its datagram");
            if (kind == TR_FRAME_IS_PIECE) {
                check_piece(frame);
                add(source, frame);
            }
        }
    }
    void release()
    {
        tr_reassembly_release(&reassembly_);
    }
    void reset()
    {
        tr_reassembly_reset(&reassembly_);
        model_ = Model();
    }

  private:
    void add(uint64_t source, const tr_frame &piece)
    {
        tr_span out{};
        uint64_t evicted = 0;
        tr_reassembly_result result =
            tr_reassembly_add(&reassembly_, source, &piece, &out, &evicted);
        fuzz::require(evicted <= 1, "a piece evicts one message at most");
        if (result == TR_PIECE_WAITS) {
            release();
            result = tr_reassembly_add(&reassembly_, source, &piece, &out, &evicted);
            fuzz::require(result != TR_PIECE_WAITS, "nothing waits for what was released");
        }
        fuzz::require((piece.message_bytes <= message_bytes_max) || result == TR_PIECE_REFUSED,
                      "no message is above the limit");
        if (result == TR_PIECE_TAKEN || result == TR_PIECE_COMPLETES)
            model_.came(source, piece);
        if (result == TR_PIECE_COMPLETES)
            model_.completed(source, piece, out);
    }

    Memory memory_;
    tr_reassembly reassembly_;
    Model model_;
};

/* A datagram with one piece, as a sender cuts it: of small numbers, so that pieces meet. */
fuzz::Exact piece_of(fuzz::Input *in)
{
    uint32_t datagram_bytes = TR_PIECE_BYTES + TR_PIECE_UNIT_MIN + 8 * in->below(4);
    uint32_t unit = datagram_bytes - TR_PIECE_BYTES;
    uint32_t message_bytes = unit + 1 + in->u8();
    tr_cut cut = tr_cut_plan(in->below(4), message_bytes, datagram_bytes);
    uint32_t index = in->below(cut.count);
    uint32_t bytes = tr_cut_bytes(&cut, index);
    fuzz::Exact datagram(tr_align_up_u32(TR_PIECE_BYTES + bytes, 8));
    tr_cut_header(&cut, index, datagram.data());
    memset(datagram.data() + TR_PIECE_BYTES, in->u8(), bytes);
    return datagram;
}

/* Any bytes, behind the mark of a frame if the choice says so. */
fuzz::Exact bytes_of(fuzz::Input *in, uint32_t choice)
{
    fuzz::Exact datagram = in->take(in->u8());
    if (datagram.size() >= TR_FRAME_BYTES && choice != 0)
        tr_store_le32(datagram.data(),
                      TR_FRAME_MARK | (choice == 1 ? TR_FRAME_WHOLE : TR_FRAME_PIECE) << 16);
    return datagram;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    fuzz::Input in(data, bytes);
    Receiver receiver;
    while (!in.ended()) {
        uint32_t choice = in.below(8);
        uint64_t source = in.below(2);
        if (choice < 3)
            receiver.receive(source, bytes_of(&in, choice));
        else if (choice < 6)
            receiver.receive(source, piece_of(&in));
        else if (choice == 6)
            receiver.release();
        else if (source == 1)
            receiver.reset();
    }
    return 0;
}
